"""What each width of each part of a model costs the prediction, from one pass of gradients for all."""

from bitfront.evaluators.sensitivity.pass_images import pass_images
from bitfront.evaluators.sensitivity.projections import Projections, project
from bitfront.evaluators.sensitivity.state_errors import State

__all__ = ["Projections", "State", "pass_images", "project"]
