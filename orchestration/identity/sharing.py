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

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from orchestration.identity.evidence import Values
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


def packed(high: str, low: str) -> pl.Expr:
    """Two columns of 32 bits as one of 64, which is compared and sorted several times faster than the two."""
    return pl.col(high).cast(pl.UInt64) * 2**32 + pl.col(low).cast(pl.UInt64)


def unpacked(numbers: pl.Series, high: str, low: str) -> pl.DataFrame:
    """The two columns again, as UInt32."""
    both = numbers.to_numpy()
    return pl.DataFrame({high: (both >> np.uint64(32)).astype(np.uint32), low: both.astype(np.uint32)})


def shared(links: pl.DataFrame, holder: np.ndarray) -> pl.DataFrame:
    """Values that several holders have: ``holder`` and ``value``, a pair possibly more than once.

    Most values are held by one record, or by records that surer rules have joined.

    Args:
        links: ``node`` (position) and ``value`` (number).
        holder: For each node the number of the holder it belongs to so far.
    """
    values, holders = links["value"].to_numpy(), holder[links["node"].to_numpy()]
    # Whatever holder of a value is noted, only a shared value has another one.
    noted = _noted(values, holders)
    is_shared = np.zeros(len(noted), dtype=bool)
    is_shared[values[noted[values] != holders]] = True
    kept = is_shared[values]
    return pl.DataFrame({"holder": holders[kept].astype(np.uint32), "value": values[kept]})


def cluster(links: pl.DataFrame, holder: np.ndarray) -> np.ndarray:
    """Join further what equal values link: connected components of the graph of holders and values.

    Args:
        links: ``node`` (position) and ``value`` (number), only what links.
        holder: For each node the number of the holder it belongs to so far, 0 and up without gaps.

    Returns:
        For each node the number of its component, 0 and up without gaps.
    """
    values, holders = links["value"].to_numpy(), holder[links["node"].to_numpy()]
    # Each holder of a value is tied to the one noted last: as many edges as to the value, and fewer corners.
    others = _noted(values, holders)[values]
    is_edge = others != holders
    if not is_edge.any():
        return holder
    size = int(holder.max()) + 1
    ends = (holders[is_edge], others[is_edge])
    graph = sparse.coo_matrix((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(size, size))
    # Components are numbered as their first member comes.
    return sparse.csgraph.connected_components(graph, directed=False)[1][holder]


def _noted(values: np.ndarray, holders: np.ndarray) -> np.ndarray:
    """For each value the last of its holders."""
    noted = np.zeros(int(values.max(initial=0)) + 1, dtype=holders.dtype)
    noted[values] = holders
    return noted


def listed(rule: str, texts: pl.Series, blocked: pl.DataFrame) -> pl.Series:
    """For each value of a rule whether it stands in the list.

    Args:
        rule: The rule.
        texts: Values.
        blocked: ``kind`` (a rule, or ``email_local_part``) and ``value``.
    """
    entries = blocked.select("kind", entry=pl.col("value").str.strip_chars().str.to_lowercase())
    whole = entries.filter(pl.col("kind") == rule)["entry"]
    locals_ = entries.filter((pl.col("kind") == LOCAL_PART) & (rule == "email"))["entry"]
    if whole.is_empty() and locals_.is_empty():
        return pl.repeat(False, len(texts), eager=True)
    bare = texts.str.split(_SEPARATOR).list.last().str.to_lowercase()
    return bare.is_in(whole.implode()) | bare.str.split("@").list.first().is_in(locals_.implode())


@dataclass(frozen=True)
class Judgement:
    """What became of the values of a rule.

    Attributes:
        blocked: ``value``, ``block_reason``; one row a blocked value.
        agreed: ``node``, ``value``: holders of a value in conflict who agree with each other, under a text of their
            own.
    """

    blocked: pl.DataFrame
    agreed: pl.DataFrame


def judge(rule: str, held: Values, holder: np.ndarray, traits: Mapping[str, Values], rules: SharingRules) -> Judgement:
    """Find the shared values of one rule.

    Args:
        rule: One of ``_TRAITS``.
        held: Its values, listed ones without links.
        holder: For each node what it was joined to so far.
        traits: What holders are compared by: name, birth_date, email, login.
        rules: How strict to be.
    """
    pairs = shared(held.links, holder).unique()
    seen = _seen({trait: traits[trait] for trait in _TRAITS[rule]}, holder, pairs["holder"])
    # Where but one holder has a profile, there is nothing to compare.
    pairs = pairs.filter(_is_among(pairs["holder"], seen["holder"], len(holder)))
    pairs = pairs.filter(pl.col("value").is_duplicated())
    seen = seen.filter(_is_among(seen["holder"], pairs["holder"], len(holder)))
    profiles = seen.group_by("holder").agg(
        profile=pl.concat_str("trait", "text", separator="=").sort().str.join(_SEPARATOR),
        is_personal=pl.col("trait").is_in(["name", "birth_date"]).any(),
    )
    signed = pairs.join(profiles, on="holder")
    counts = signed.group_by("value").agg(n=pl.col("profile").n_unique())
    capped = counts.filter(pl.col("n") > rules.cap).select("value", block_reason=pl.lit(DEGREE_CAP))
    compared = signed.join(counts.filter(pl.col("n").is_between(2, rules.cap)), on="value", how="semi")
    conflicts = capped.clear()
    agreed = pl.DataFrame(schema={"node": pl.UInt32(), "value": pl.String()})
    if rules.conflicts and not compared.is_empty():
        texts = seen.join(profiles, on="holder").select("profile", "trait", "text").unique()
        likened = _compare(rule, compared.select("value", "profile").unique(), texts)
        conflicts = likened.filter("contradict").select("value", block_reason=pl.lit(CONFLICT)).unique()
        in_conflict = compared.join(conflicts, on="value", how="semi")
        agreed = _agreed(in_conflict, likened.join(conflicts, on="value", how="semi"), held, holder)
    return Judgement(pl.concat([capped, conflicts]), agreed)


def _is_among(numbers: pl.Series, wanted: pl.Series, count: int) -> pl.Series:
    """Which of the numbers below ``count`` are wanted."""
    is_wanted = np.zeros(count, dtype=bool)
    is_wanted[wanted.to_numpy()] = True
    return pl.Series(is_wanted)[numbers]


def _seen(traits: Mapping[str, Values], holder: np.ndarray, asked: pl.Series) -> pl.DataFrame:
    """Traits of the holders that are asked for: ``holder``, ``trait``, ``text``."""
    parts = [pl.DataFrame(schema={"holder": pl.UInt32(), "trait": pl.String(), "text": pl.String()})]
    for trait, values in traits.items():
        its = values.links.select("value", holder=pl.Series(holder)[values.links["node"]].cast(pl.UInt32))
        its = its.filter(_is_among(its["holder"], asked, len(holder))).unique()
        parts.append(its.select("holder", pl.lit(trait).alias("trait"), text=values.texts[its["value"]]))
    return pl.concat(parts)


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


def _agreed(holders: pl.DataFrame, pairs: pl.DataFrame, held: Values, holder: np.ndarray) -> pl.DataFrame:
    """Within values in conflict, those who agree with each other and with nobody's opponent.

    Args:
        holders: ``value``, ``holder``, ``profile``, ``is_personal``.
        pairs: What ``_compare`` said of their profiles.
        held: The values of the rule.
        holder: For each node what it was joined to so far.

    Returns:
        ``node`` and a ``value`` (text) for each such group.
    """
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
    links = held.links.join(members.select("value").unique(), on="value", how="semi")
    links = links.with_columns(holder=pl.Series(holder)[links["node"]].cast(pl.UInt32))
    found = links.join(members, on=["value", "holder"])
    named = pl.concat_str(held.texts[found["value"]].alias("text"), pl.lit(_AGREED), "label", separator=_SEPARATOR)
    return found.select("node", value=named)
