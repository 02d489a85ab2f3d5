"""A recipe: the folder that a search hands over, with everything needed to apply a composition or to train it again.

``recipe.yaml`` holds the candidate, the backbone's name and hash, the task's text-to-text view, seeds, library versions
and scores; ``delta.safetensors`` the trained deltas; ``README.md`` a model card.
"""

from autodelta.recipe.recipe import BackboneReference, Recipe, ScoreLine

__all__ = ["BackboneReference", "Recipe", "ScoreLine"]
