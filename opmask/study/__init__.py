"""User studies: which method's images look best to people, as in the paper's Table 3."""

from opmask.study.chart import save_chart
from opmask.study.key import StudyKey, Trial
from opmask.study.page import build_study
from opmask.study.scoring import TABLE_B, Share, StudyScore, score_study, to_markdown

__all__ = [
    "TABLE_B",
    "Share",
    "StudyKey",
    "StudyScore",
    "Trial",
    "build_study",
    "save_chart",
    "score_study",
    "to_markdown",
]
