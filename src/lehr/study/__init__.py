"""Studies: policies compared by training for real.

`compare` takes a `Request` (workloads × policies × peak LRs × seeds), trains every cell in worker processes, and gives
back one `Comparison` a workload: an honest ranking, because every policy is tuned alike, on seeds that are not those
it is judged by. Importing this package imports no framework.
"""

from lehr.study.conduct import Request, compare
from lehr.study.policies import NamedPolicy, named
from lehr.study.progress import Progress
from lehr.study.results import Comparison
from lehr.study.stats import Ranking

__all__ = ["Comparison", "NamedPolicy", "Progress", "Ranking", "Request", "compare", "named"]
