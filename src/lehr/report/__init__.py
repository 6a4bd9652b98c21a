"""Reports: a study as one HTML page, and curves of policies as charts, drawings and facts.

`page.write(folder)` writes the page of a study; `figures.plot` is `lehr.plot`; `lehr show` prints `facts` under the
drawing of `terminal`. Altair, vl-convert and plotext are imported only where they draw.
"""
