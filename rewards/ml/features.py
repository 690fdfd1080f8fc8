"""Frozen features of responses, few enough for rewards that are linear in them.

N is the number of texts, D of features, H the width of what they are reduced from.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from rewards.ml.baselines import MAX_TERMS
from rewards.ml.comparisons import Floats, Ints
from rewards.ml.selection import standardised

FEATURES = 64
CLUSTERS = 12


def word_features(texts: Sequence[str], seed: int, features: int = FEATURES) -> Floats:
    """(N, D) of what words the texts have: the first components of their TF-IDF vectors.

    D is smaller where the texts have fewer different words.
    """
    vectorizer = TfidfVectorizer(max_features=MAX_TERMS, sublinear_tf=True, token_pattern=r"\w+|\S")
    counts = vectorizer.fit_transform(texts)
    if counts.shape[1] <= features:
        return np.asarray(counts.toarray())
    return np.asarray(TruncatedSVD(features, random_state=seed).fit_transform(counts))


def text_features(texts: Sequence[str], seed: int) -> Floats:
    """(N, D) which words the texts have and how long they are, standardised."""
    lengths = np.log1p([[len(text)] for text in texts])
    return standardised(np.hstack((word_features(texts, seed), lengths)))


def features_by_prompt(responses: Sequence[Sequence[str]], seed: int) -> list[Floats]:
    """`text_features` (K, D) of each prompt's responses; for no responses at all, no prompts."""
    texts = [text for some in responses for text in some]
    if not texts:
        return []
    return np.split(text_features(texts, seed), np.cumsum([len(some) for some in responses])[:-1])


def fewer(rows: Floats, seed: int, features: int = FEATURES) -> Floats:
    """The first principal components (N, D) of rows (N, H); the rows where they are no wider."""
    if rows.shape[1] <= features:
        return rows
    return np.asarray(PCA(min(features, len(rows)), random_state=seed).fit_transform(rows))


def clusters(rows: Floats, seed: int, n: int = CLUSTERS) -> Ints:
    """(N,) the number of the group of similar rows that each is in."""
    found = KMeans(min(n, len(rows)), n_init=1, random_state=seed).fit_predict(rows)
    return np.asarray(found, dtype=np.int64)
