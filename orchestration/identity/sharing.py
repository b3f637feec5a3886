"""Values that several people share and that therefore link nobody: a hotline's number, a family phone, a test address.

Joining two people is worse than not joining one, so a value is blocked when any of these holds:

- ``listed``: it stands in the list of blocked values.
- ``degree_cap``: more than ``cap`` different people seem to hold it.
- ``conflict``: two of its holders contradict each other.

Holders are not records but what the surer rules have joined already. What they are compared by is their profile: the
names, dates of birth, e-mails and logins of all their records. A holder without profile (an order that gives no more
than the phone) contradicts nobody.

Belongs here: when a value is shared. Does not belong here: collecting values, making persons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from orchestration.identity.names import EQUAL, FAR, NEAR, compare_names

LISTED, DEGREE_CAP, CONFLICT = "listed", "degree_cap", "conflict"
BLOCKED_SCHEMA = {"kind": pl.String(), "value": pl.String(), "reason": pl.String()}
LOCAL_PART = "email_local_part"
_SEPARATOR = "\x1f"
_AGREED = "agreed"

_TRAITS: dict[str, tuple[str, ...]] = {
    "email": ("name", "birth_date"),
    "login": ("name", "birth_date"),
    "phone": ("name", "birth_date", "email"),
    "cookie": ("name", "birth_date", "email", "login"),
}
"""What holders of a value of each rule are compared by."""


@dataclass(frozen=True)
class SharingRules:
    """How strict to be.

    Attributes:
        conflicts: Whether contradicting holders block a value.
        cap: How many different profiles may hold one value.
    """

    conflicts: bool = True
    cap: int = 6


def components(left: np.ndarray, right: np.ndarray, n_left: int, n_right: int) -> np.ndarray:
    """Connected components of a graph between two kinds of things.

    Args:
        left: Position of each edge's left end.
        right: Position of its right end.
        n_left: How many left things there are.
        n_right: How many right things there are.

    Returns:
        For each left thing the number of its component.
    """
    size = n_left + n_right
    ones = np.ones(len(left), dtype=np.int8)
    graph = sparse.coo_matrix((ones, (left, right + n_left)), shape=(size, size))
    return sparse.csgraph.connected_components(graph, directed=False)[1][:n_left]


def cluster(links: pl.DataFrame, holder: np.ndarray) -> np.ndarray:
    """Join further what equal values link.

    Args:
        links: ``node`` (position) and ``value`` (categorical), of one rule; only what links.
        holder: For each node the number of the component it belongs to so far.

    Returns:
        For each node the number of its component.
    """
    # A value that one record holds links nobody; most are such.
    links = links.filter(pl.col("value").is_duplicated())
    if links.is_empty():
        return holder
    held, left = np.unique(holder[links["node"].to_numpy()], return_inverse=True)
    values, right = np.unique(links["value"].to_physical().to_numpy(), return_inverse=True)
    joined = components(left, right, len(held), len(values))
    first = int(holder.max()) + 1
    component = np.arange(first)
    component[held] = first + joined
    return component[holder]


def listed(evidence: pl.DataFrame, blocked: pl.DataFrame) -> pl.Series:
    """For each row of evidence whether its value stands in the list.

    Args:
        evidence: ``rule`` and ``value``.
        blocked: ``kind`` (a rule, or ``email_local_part``) and ``value``.
    """
    kinds = ["email" if kind == LOCAL_PART else kind for kind in blocked["kind"].unique()]
    bare = pl.col("value").cast(pl.String).str.split(_SEPARATOR).list.last().str.to_lowercase()
    values = (
        evidence.select("rule", "value", row=pl.int_range(pl.len()))
        .filter(pl.col("rule").is_in(kinds))
        .select("row", "rule", bare=bare)
        .with_columns(local=pl.when(pl.col("rule") == "email").then(pl.col("bare").str.split("@").list.first()))
    )
    entries = blocked.select("kind", entry=pl.col("value").str.strip_chars().str.to_lowercase()).unique()
    locals_ = entries.filter(pl.col("kind") == LOCAL_PART).select("entry")
    hits = [
        values.join(entries, left_on=["rule", "bare"], right_on=["kind", "entry"], how="semi"),
        values.join(locals_, left_on="local", right_on="entry", how="semi"),
    ]
    hit = np.zeros(evidence.height, dtype=bool)
    hit[pl.concat(hits)["row"].to_numpy()] = True
    return pl.Series(hit)


@dataclass(frozen=True)
class Judgement:
    """What became of the values of some rules.

    Attributes:
        blocked: ``rule``, ``value``, ``block_reason``; one row a blocked value.
        agreed: ``node``, ``rule``, ``value``: holders of a value in conflict who agree with each other, under a value
            of their own.
    """

    blocked: pl.DataFrame
    agreed: pl.DataFrame


def judge(evidence: pl.DataFrame, holder: np.ndarray, traits: pl.DataFrame, rules: SharingRules) -> Judgement:
    """Find the shared values of one rule.

    Args:
        evidence: ``node``, ``rule``, ``value``; one rule of ``_TRAITS``, listed values left out.
        holder: For each node what it was joined to so far.
        traits: ``node``, ``trait`` (name, birth_date, email, login) and ``text``.
        rules: How strict to be.
    """
    nothing = Judgement(
        evidence.clear().select("rule", "value", block_reason=pl.lit(None, dtype=pl.String)),
        evidence.clear().select("node", "rule", "value"),
    )
    if evidence.is_empty():
        return nothing
    rule = evidence.item(0, "rule")
    held = evidence.with_columns(holder=pl.Series(holder)[evidence["node"]])
    several = held.group_by("value").agg(n=pl.col("holder").n_unique()).filter(pl.col("n") > 1)
    held = held.join(several, on="value", how="semi")
    known = traits.filter(pl.col("trait").is_in(_TRAITS[rule]))
    known = known.select("trait", "text", holder=pl.Series(holder)[known["node"]])
    seen = known.join(held, on="holder", how="semi").unique()
    profiles = seen.group_by("holder").agg(
        profile=pl.concat_str("trait", "text", separator="=").sort().str.join(_SEPARATOR),
        is_personal=pl.col("trait").is_in(["name", "birth_date"]).any(),
    )
    signed = held.select("value", "holder").unique().join(profiles, on="holder")
    counts = signed.group_by("value").agg(n=pl.col("profile").n_unique())
    capped = counts.filter(pl.col("n") > rules.cap).select("value", block_reason=pl.lit(DEGREE_CAP))
    compared = signed.join(counts.filter(pl.col("n").is_between(2, rules.cap)), on="value", how="semi")
    conflicts = capped.clear()
    agreed = nothing.agreed
    if rules.conflicts and not compared.is_empty():
        texts = seen.join(profiles, on="holder").select("profile", "trait", "text").unique()
        pairs = _compare(rule, compared.select("value", "profile").unique(), texts)
        conflicts = pairs.filter("contradict").select("value", block_reason=pl.lit(CONFLICT)).unique()
        in_conflict = compared.join(conflicts, on="value", how="semi")
        agreed = _agreed(in_conflict, pairs.join(conflicts, on="value", how="semi"), held)
    blocked = pl.concat([capped, conflicts]).select(pl.lit(rule).alias("rule"), "value", "block_reason")
    return Judgement(blocked, agreed.select("node", pl.lit(rule).alias("rule"), "value"))


def _compare(rule: str, holders: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Each two profiles that hold one value: ``value``, ``a``, ``b``, ``agree``, ``contradict``."""
    pairs = holders.rename({"profile": "a"}).join(holders.rename({"profile": "b"}), on="value")
    pairs = pairs.filter(pl.col("a") < pl.col("b"))
    distinct = pairs.select("a", "b").unique()
    sides = distinct.join(texts.rename({"profile": "a", "text": "text_a"}), on="a")
    sides = sides.join(texts.rename({"profile": "b", "text": "text_b"}), on=["b", "trait"])
    names = compare_names(sides.filter(pl.col("trait") == "name").select(a="text_a", b="text_b"))
    sides = sides.join(names.unique(), left_on=["text_a", "text_b"], right_on=["a", "b"], how="left")
    same = pl.when(pl.col("text_a") == pl.col("text_b")).then(pl.lit(EQUAL)).otherwise(pl.lit(FAR))
    sides = sides.with_columns(likeness=pl.when(pl.col("trait") == "name").then("likeness").otherwise(same))
    equal, near, far = ((pl.col("likeness") == likeness).any() for likeness in (EQUAL, NEAR, FAR))
    by_trait = sides.group_by("a", "b", "trait").agg(agrees=equal, differs=far & ~equal & ~near)
    flags = {
        f"{trait}_{flag}": ((pl.col("trait") == trait) & pl.col(flag)).any()
        for trait in ("name", "birth_date", "email", "login")
        for flag in ("agrees", "differs")
    }
    judged = distinct.join(by_trait.group_by("a", "b").agg(**flags), on=["a", "b"], how="left")
    judged = judged.with_columns(pl.col(flags.keys()).fill_null(False))
    is_same_person = pl.col("name_agrees") | pl.col("birth_date_agrees")
    other_name = pl.col("name_differs") & ~pl.col("birth_date_agrees")
    other_birth = pl.col("birth_date_differs")
    match rule:
        case "phone":
            # A phone is handed on and shared at home: more is needed than that nothing speaks against it.
            contradict = (
                other_name
                | (other_birth & ~(pl.col("name_agrees") & pl.col("email_agrees")))
                | (pl.col("email_differs") & ~is_same_person)
            )
        case "cookie":
            other_contact = pl.col("email_differs") | pl.col("login_differs")
            contradict = other_name | (other_birth & ~pl.col("name_agrees")) | (other_contact & ~is_same_person)
        case _:
            contradict = other_name | (other_birth & ~pl.col("name_agrees"))
    judged = judged.select("a", "b", contradict=contradict, agree=is_same_person & ~contradict)
    return pairs.join(judged, on=["a", "b"])


def _agreed(holders: pl.DataFrame, pairs: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Within values in conflict, those who agree with each other and with nobody's opponent.

    Args:
        holders: ``value``, ``holder``, ``profile``, ``is_personal``.
        pairs: What ``_compare`` said of their profiles.
        held: ``node``, ``value``, ``holder``.

    Returns:
        ``node`` and a ``value`` for each such group.
    """
    if holders.is_empty():
        return held.select("node", "value").clear()
    corners = holders.select("value", "profile").unique().sort("value", "profile").with_row_index("corner")
    ends = pairs.join(corners.rename({"profile": "a", "corner": "from"}), on=["value", "a"])
    ends = ends.join(corners.rename({"profile": "b", "corner": "to"}), on=["value", "b"])
    links = ends.filter("agree")
    size = corners.height
    graph = sparse.coo_matrix((np.ones(links.height, np.int8), (links["from"], links["to"])), shape=(size, size))
    group = sparse.csgraph.connected_components(graph, directed=False)[1]
    corners = corners.with_columns(group=pl.Series(group))
    opposed = ends.filter("contradict")
    sides = pl.DataFrame({"a": group[opposed["from"].to_numpy()], "b": group[opposed["to"].to_numpy()]})
    torn = sides.filter(pl.col("a") == pl.col("b"))["a"].unique()
    members = holders.join(corners, on=["value", "profile"]).filter(
        pl.col("is_personal") & ~pl.col("group").is_in(torn.implode())
    )
    sizes = members.group_by("group").agg(n=pl.col("holder").n_unique(), label=pl.col("profile").min())
    members = members.join(sizes.filter(pl.col("n") > 1), on="group").select("value", "holder", "label").unique()
    named = pl.concat_str("value", pl.lit(_AGREED), "label", separator=_SEPARATOR)
    return held.join(members, on=["value", "holder"]).select("node", value=named.cast(held.schema["value"]))
