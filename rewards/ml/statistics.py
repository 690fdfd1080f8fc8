"""The statistics of agreement and reliability in one place, each with what it is given.

Rankings, `prompts[prompt][annotator]`: `ranking_agreement`.
Ratings, annotators by items, through `from_ratings` (or `from_counts`, `from_cross_table`):
`krippendorff`, `fleiss`, `fleiss_general`, `gwet_ac1`, `gwet_ac2`, `percent_agreement`.
Two annotators' table: `cohen`; their two lists: `cohen_of_ratings`.
Ranks of the same responses: `kendall_tau_b`, `kendall_w`; lists of responses with the best first:
`kendall_tau_b_of_orders`.
Columns of items, annotators and labels: `dawid_skene`, `one_coin`.
Outcomes of comparing two at a time, through `outcomes` (or `outcomes_of_wins`,
`outcomes_of_rankings`): `bradley_terry`, `noisy_bradley_terry`, `joint`.

Each returns an object with a `state`; unless that is "ok", its figures are None, and never NaN.
Malformed input raises ValueError. docs/reference/statistics.md has the table.
"""

from rewards.ml.bradley_terry import bradley_terry
from rewards.ml.cohen import cohen, cohen_of_ratings
from rewards.ml.dawid_skene import columns_of_ratings, dawid_skene, one_coin
from rewards.ml.gwet import fleiss, fleiss_general, gwet_ac1, gwet_ac2
from rewards.ml.joint import joint
from rewards.ml.kendall import kendall_tau_b, kendall_tau_b_of_orders, kendall_w
from rewards.ml.krippendorff import krippendorff
from rewards.ml.noisy_bradley_terry import noisy_bradley_terry
from rewards.ml.outcomes import outcomes, outcomes_of_rankings, outcomes_of_wins
from rewards.ml.ranking_agreement import ranking_agreement
from rewards.ml.ratings import from_counts, from_cross_table, from_ratings, percent_agreement

__all__ = [
    "bradley_terry",
    "cohen",
    "cohen_of_ratings",
    "columns_of_ratings",
    "dawid_skene",
    "fleiss",
    "fleiss_general",
    "from_counts",
    "from_cross_table",
    "from_ratings",
    "gwet_ac1",
    "gwet_ac2",
    "joint",
    "kendall_tau_b",
    "kendall_tau_b_of_orders",
    "kendall_w",
    "krippendorff",
    "noisy_bradley_terry",
    "one_coin",
    "outcomes",
    "outcomes_of_rankings",
    "outcomes_of_wins",
    "percent_agreement",
    "ranking_agreement",
]
