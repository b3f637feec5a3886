"""Golden g11: six people in fourteen records; Bagga and Baldwin's two responses to one key."""

from datetime import datetime

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.identity.evidence import NODE, Collected, collect, numbered_values
from orchestration.identity.quality import adjusted_rand, b_cubed, clusters, measure, pairwise
from orchestration.identity.resolve import resolve, resolve_identities
from orchestration.identity.sharing import BLOCKED_SCHEMA, SharingRules

# source, record, name, email as given, email, phone, cookie, truth
RECORDS = [
    ("crm", "A1", "Li Wei", "li.wei@example.com", "li.wei@example.com", "+8613800000001", None, "LW"),
    ("crm", "A2", "LI WEI", "LI.WEI@EXAMPLE.COM", "li.wei@example.com", None, None, "LW"),
    ("web", "W1", None, "li.wei@example.com", "li.wei@example.com", None, "ck-1", "LW"),
    ("web", "W2", None, None, None, None, "ck-1", "LW"),
    ("survey", "S1", None, None, None, "+8613800000001", None, "LW"),
    ("crm", "A3", "Wang Fang", "wang.fang@example.com", "wang.fang@example.com", "+8613900000002", None, "WF"),
    ("survey", "S2", "王芳", None, None, "+8613900000002", None, "WF"),
    ("web", "W3", None, "wang.fang@example.com", "wang.fang@example.com", None, "ck-2", "WF"),
    ("crm", "A4", "Chen Jie", "info@example.org", "info@example.org", "+8613700000003", None, "CJ"),
    ("crm", "A5", "Zhao Min", "info@example.org", "info@example.org", "+8613700000004", None, "ZM"),
    ("web", "W4", None, None, None, None, "ck-3", "AN"),
    ("web", "W5", "Sun Lei", None, None, None, "ck-4", "SL"),
    ("crm", "A6", "Sun Lei", "sun.lei@example.com", "sun.lei@example.com", "+8613600000005", None, "SL"),
    ("web", "W6", None, "sun.lei@example.com", "sun.lei@example.com", None, "ck-4", "SL"),
]
CLUSTERS = [["A1", "A2", "S1", "W1", "W2"], ["A3", "S2", "W3"], ["A4"], ["A5"], ["A6", "W5", "W6"], ["W4"]]
BLOCKED = pl.DataFrame([("email", "info@example.org", "shared")], schema=BLOCKED_SCHEMA, orient="row")

WITH_BLOCKLIST = {
    "true_pairs": 16,
    "pred_pairs": 16,
    "tp": 16,
    "fp": 0,
    "fn": 0,
    "pair_precision": 1.0,
    "pair_recall": 1.0,
    "pair_f1": 1.0,
    "b3_precision": 1.0,
    "b3_recall": 1.0,
    "b3_f1": 1.0,
    "adjusted_rand": 1.0,
    "clusters_true": 6,
    "clusters_pred": 6,
    "largest_pred": 5,
}
WITHOUT_BLOCKLIST = {
    "true_pairs": 16,
    "pred_pairs": 17,
    "tp": 16,
    "fp": 1,
    "fn": 0,
    "pair_precision": 0.9411764706,
    "pair_recall": 1.0,
    "pair_f1": 0.9696969697,
    "b3_precision": 0.9285714286,
    "b3_recall": 1.0,
    "b3_f1": 0.962962963,
    "adjusted_rand": 0.9629930866,
    "clusters_true": 6,
    "clusters_pred": 5,
    "largest_pred": 5,
}
RAW_EMAIL_ONLY = {
    "true_pairs": 16,
    "pred_pairs": 4,
    "tp": 3,
    "fp": 1,
    "fn": 13,
    "pair_precision": 0.75,
    "pair_recall": 0.1875,
    "pair_f1": 0.3,
    "b3_precision": 0.9285714286,
    "b3_recall": 0.5523809524,
    "b3_f1": 0.6926963712,
    "adjusted_rand": 0.2470449173,
    "clusters_true": 6,
    "clusters_pred": 10,
    "largest_pred": 2,
}
KEY = dict(zip("123456789ABC", "aaaaabbccccc", strict=True))
RESPONSES = {
    "xxxxxyyyyyyy": {
        "true_pairs": 21,
        "pred_pairs": 31,
        "tp": 21,
        "fp": 10,
        "fn": 0,
        "pair_precision": 0.6774193548,
        "pair_recall": 1.0,
        "pair_f1": 0.8076923077,
        "b3_precision": 0.7619047619,
        "b3_recall": 1.0,
        "b3_f1": 0.8648648649,
        "adjusted_rand": 0.6901408451,
        "clusters_true": 3,
        "clusters_pred": 2,
        "largest_pred": 7,
    },
    "xxxxxyyxxxxx": {
        "true_pairs": 21,
        "pred_pairs": 46,
        "tp": 21,
        "fp": 25,
        "fn": 0,
        "pair_precision": 0.4565217391,
        "pair_recall": 1.0,
        "pair_f1": 0.6268656716,
        "b3_precision": 0.5833333333,
        "b3_recall": 1.0,
        "b3_f1": 0.7368421053,
        "adjusted_rand": 0.3373493976,
        "clusters_true": 3,
        "clusters_pred": 2,
        "largest_pred": 10,
    },
}


def tables():
    """The records of CRM and web as customers, those of the survey as responses; S2's name has no place there."""
    rows = {"customer": [], "response": []}
    for source, record, name, _, email, phone, cookie, _ in RECORDS:
        common = {
            "source": source,
            "source_id": record,
            "first_extracted_at": datetime(2026, 5, 1),
            "is_deleted": False,
            "email": email,
            "phone": phone,
        }
        if source == "survey":
            rows["response"].append(common)
        else:
            rows["customer"].append(common | {"full_name": name, "anonymous_id": cookie})
    return {name: pl.LazyFrame(values, schema=CONTRACTS[name].schema) for name, values in rows.items()}


def labelled(person_record):
    truth = pl.DataFrame([(row[1], row[-1]) for row in RECORDS], schema=["source_id", "truth"], orient="row")
    return truth.join(person_record.select("source_id", predicted="person_id"), on="source_id")


def found_clusters(person_record):
    return sorted(person_record.group_by("person_id").agg(pl.col("source_id").sort())["source_id"].to_list())


def assert_measures(measured, expected):
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, abs=1e-9), name


def test_with_the_shared_mailbox_listed_every_person_is_found():
    found = resolve_identities(tables(), BLOCKED, rules=SharingRules(conflicts=False))
    assert found_clusters(found.person_record) == CLUSTERS
    assert_measures(measure(labelled(found.person_record)), WITH_BLOCKLIST)


def test_without_the_list_the_shared_mailbox_joins_two_people():
    found = resolve_identities(tables(), rules=SharingRules(conflicts=False))
    assert_measures(measure(labelled(found.person_record)), WITHOUT_BLOCKLIST)


def test_contradicting_names_block_the_mailbox_though_no_list_names_it():
    found = resolve_identities(tables())
    assert_measures(measure(labelled(found.person_record)), WITH_BLOCKLIST)
    blocked = found.evidence.filter("is_blocked").select("source_id", "rule", "block_reason").rows()
    assert sorted(blocked) == [("A4", "email", "conflict"), ("A5", "email", "conflict")]


def test_exact_raw_emails_find_little():
    collected = collect(tables())
    raw = pl.DataFrame(
        [("response" if row[0] == "survey" else "customer", row[0], row[1], row[3]) for row in RECORDS],
        schema=[*NODE, "value"],
        orient="row",
    ).drop_nulls("value")
    raw = raw.join(collected.nodes, on=NODE).select("node", "value")
    nothing = numbered_values(raw.clear())
    evidence = dict.fromkeys(collected.evidence, nothing) | {"email": numbered_values(raw)}
    found = resolve(Collected(collected.nodes, evidence, collected.profiles), rules=SharingRules(conflicts=False))
    assert_measures(measure(labelled(found.person_record)), RAW_EMAIL_ONLY)


@pytest.mark.parametrize("response", RESPONSES)
def test_bagga_and_baldwin(response):
    rows = pl.DataFrame({"truth": list(KEY.values()), "predicted": list(response)})
    expected = RESPONSES[response]
    assert_measures(measure(rows), expected)
    parts = {**pairwise(rows), **b_cubed(rows), "adjusted_rand": adjusted_rand(rows), **clusters(rows)}
    assert_measures(parts, expected)
