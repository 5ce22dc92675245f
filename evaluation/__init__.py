"""Children's scores: the ledger, evaluators, objectives, limits and costing.

Importing the package loads neither torch nor Ray.
"""

from evaluation.child_pool import ChildPool
from evaluation.child_runner import ChildLimits
from evaluation.choices_costing import ChoicesCosting
from evaluation.costing import Costing, ExpectedCosts, ModelCosting, TableCosting, expected_cost
from evaluation.database import check_storage
from evaluation.evaluator import (
    BudgetExhausted,
    EvaluationError,
    Evaluator,
    EvaluatorUnavailable,
    NotSupported,
    ReplayDivergence,
    SpaceExhausted,
    TrainedChild,
    Weights,
    WorkerStatus,
    child_seed,
)
from evaluation.evaluator_config import EvaluatorConfig
from evaluation.inheritance import Inheritance
from evaluation.ledger import Ledger
from evaluation.ledger_session import LedgerSession
from evaluation.lesson import Lesson
from evaluation.limits import LimitsConfig, violation
from evaluation.objective_config import (
    InverseConfig,
    MinMaxConfig,
    MnasNetConfig,
    ObjectiveConfig,
    WeightSchedule,
)
from evaluation.objectives import Objective, ObjectiveBounds, make_objective
from evaluation.ray_evaluator import RayEvaluator
from evaluation.recipe import Recipe
from evaluation.results import (
    ChildResult,
    ChildTask,
    Evaluation,
    FailureReason,
    Fidelity,
    NetworkCosts,
)
from evaluation.row_checks import LedgerDamaged, LedgerError
from evaluation.shared_results import SharedResults, SharedResultsError
from evaluation.sharing_evaluator import SharingEvaluator
from evaluation.table_evaluator import TableEvaluator
from evaluation.tables import SessionRecord
from evaluation.training_evaluator import TrainingEvaluator

__all__ = [
    "BudgetExhausted",
    "ChildLimits",
    "ChildPool",
    "ChildResult",
    "ChildTask",
    "ChoicesCosting",
    "Costing",
    "Evaluation",
    "EvaluationError",
    "Evaluator",
    "EvaluatorConfig",
    "EvaluatorUnavailable",
    "ExpectedCosts",
    "FailureReason",
    "Fidelity",
    "Inheritance",
    "InverseConfig",
    "Ledger",
    "LedgerDamaged",
    "LedgerError",
    "LedgerSession",
    "Lesson",
    "LimitsConfig",
    "MinMaxConfig",
    "MnasNetConfig",
    "ModelCosting",
    "NetworkCosts",
    "NotSupported",
    "Objective",
    "ObjectiveBounds",
    "ObjectiveConfig",
    "RayEvaluator",
    "Recipe",
    "ReplayDivergence",
    "SessionRecord",
    "SharedResults",
    "SharedResultsError",
    "SharingEvaluator",
    "SpaceExhausted",
    "TableCosting",
    "TableEvaluator",
    "TrainedChild",
    "TrainingEvaluator",
    "WeightSchedule",
    "Weights",
    "WorkerStatus",
    "check_storage",
    "child_seed",
    "expected_cost",
    "make_objective",
    "violation",
]
