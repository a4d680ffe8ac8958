"""The stand-in's eyes: a small lesion network and the rules around it. No medical device; see `MODEL_CARD.md`.

bytes → `field` (where the retina lies) → `network` (a probability for each pixel and lesion) → `lesions` (boxes) →
`quality` (fundus? gradable?) → `grading` (retinopathy? referable?) → `look` (all of it).
"""
