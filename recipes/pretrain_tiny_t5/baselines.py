"""What words alone give away: baselines of the text tasks, ``baselines.py`` prints them.

*majority* always gives the answer that is most frequent in training, for own answers at the most
frequent position. *bag of words* is a logistic regression on the words of the text and of the
answer as separate features, *pairs* also on every pair of a text's and an answer's word, which is
all that tasks of association need. Each is fitted on the training split's (text, answer) pairs and
gives the answer that it finds likeliest to be right.
"""

from __future__ import annotations

import re

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from zero_shot import text_tasks

from talos_engine.data.spec import EMBEDDED_TASKS, TextExamples


def features(examples: TextExamples, *, pairs: bool) -> list[str]:
    """One document per (text, answer) pair, its words being the features."""
    found = []
    for text, choices in zip(examples.texts, examples.choices, strict=True):
        words = re.findall(r"[a-z]+|[^a-z\s]", text)
        for choice in choices:
            answer = choice.replace(" ", "_")
            document = [f"t:{word}" for word in words] + [f"a:{answer}"]
            if pairs:
                document += [f"p:{word}:{answer}" for word in words]
            found.append(" ".join(document))
    return found


def fitted(train: TextExamples, test: TextExamples, *, pairs: bool) -> float:
    """Test accuracy of the logistic regression."""
    vectorizer = CountVectorizer(token_pattern=r"\S+", lowercase=False, binary=True)
    inputs = vectorizer.fit_transform(features(train, pairs=pairs))
    count = len(train.choices[0])
    right = np.eye(count, dtype=bool)[train.labels].ravel()
    model = LogisticRegression(max_iter=300).fit(inputs, right)
    scores = model.decision_function(vectorizer.transform(features(test, pairs=pairs)))
    return float((scores.reshape(-1, count).argmax(1) == test.labels).mean())


def main() -> None:
    """Print a row per task."""
    print(f"{'task':10s} {'majority':>9s} {'words':>7s} {'pairs':>7s}")
    for name in text_tasks():
        train, test = (EMBEDDED_TASKS.get(name).load(split) for split in ("train", "test"))
        assert isinstance(train, TextExamples)
        assert isinstance(test, TextExamples)
        majority = float((test.labels == np.bincount(train.labels).argmax()).mean())
        row = [majority, *(fitted(train, test, pairs=pairs) for pairs in (False, True))]
        print(f"{name:10s} {row[0]:9.1%} {row[1]:7.1%} {row[2]:7.1%}", flush=True)


if __name__ == "__main__":
    main()
