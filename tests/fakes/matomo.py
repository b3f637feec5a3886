"""Matomo's reporting API: the visits of a day.

As Matomo does: a visit belongs to the day of its last action, so one that goes on past midnight leaves its day; a
visit takes further actions for 30 minutes; newest first, ``filter_limit`` 100 unless said; counts and ids are text;
errors come with status 200.
"""

from __future__ import annotations

import hashlib
import random
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

OPEN = timedelta(minutes=30)


class Matomo(Dialect):
    collection = "visits"
    token = "matomo-token"
    content_faults = ("repeated_page", "html", "error_in_200")
    zone = ZoneInfo("UTC")
    """Time zone of the site: it decides the day."""

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=5)
        moments = sorted(begin + timedelta(seconds=chance.randrange(5 * 86400 - 3600)) for _ in range(rows))
        for number, moment in enumerate(moments, 1):
            last = moment + timedelta(seconds=chance.randrange(1200))
            self.store.put("visits", number, self._content(number, moment, chance), created_at=moment, updated_at=last)

    def _content(self, number: int, moment: datetime, chance: random.Random) -> dict[str, Any]:
        return {
            "visitor": hashlib.md5(f"visitor {chance.randrange(1 + number // 2)}".encode()).hexdigest()[:16],
            "user": None if number % 3 else f"C{number:05d}",
            "country": chance.choice(("cn", "no", "mt")),
            "pages": ["/", *chance.sample(["/search", "/cart", "/account"], chance.randrange(3))],
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return 1_000_000 + self.invented, self._content(self.invented, self.now, chance)

    def act(self, key: int, page: str) -> bool:
        """The visitor opens another page now; False where the visit is over and this would be a new one."""
        visit = self.store.get("visits", key)
        if visit is None or self.now - visit.updated_at > OPEN:
            return False
        self.store.put("visits", key, pages=[*visit["pages"], page])
        return True

    def _error(self, message: str) -> Answer:
        return Answer({"result": "error", "message": message})

    def error_in_200(self, request: Request) -> Answer:
        return self._error("Lock wait timeout exceeded; try restarting transaction")

    def over_quota(self) -> Answer:
        return self._error("Too many requests")

    @route("GET", "/(?:index.php)?")
    @route("POST", "/(?:index.php)?")
    def api(self, request: Request) -> Answer:
        asked = request.query | (request.form if request.method == "POST" else {})
        token = asked.get("token_auth") or request.bearer
        if token != self.token and not self.holds(token):
            return self._error("You can't access this resource as it requires 'view' access for the website id = 1.")
        if asked.get("module") != "API" or asked.get("format", "json").lower() != "json":
            return self._error("module=API and format=json are known here")
        if asked.get("method") == "API.getMatomoVersion":
            return Answer({"value": "5.1.2"})
        if asked.get("method") not in {"Live.getLastVisitsDetails", "VisitsSummary.getVisits"}:
            return self._error(f"The method '{asked.get('method')}' does not exist or is not available")
        if asked.get("idSite") != "1":
            return self._error("The site id has no data or you have no access")
        try:
            found = self._of_days(asked)
        except ValueError:
            return self._error("General_ExceptionInvalidDateFormat")
        if asked["method"] == "VisitsSummary.getVisits":
            return Answer({"value": len(found)})
        limit, begin = int(asked.get("filter_limit", 100)), int(asked.get("filter_offset", 0))
        page = found[begin:] if limit < 0 else found[begin : begin + self.size(limit)]
        return Answer([self.shown(record) for record in page])

    def _of_days(self, asked: dict[str, str]) -> list[Record]:
        first, _, last = asked["date"].partition(",") if "date" in asked else ("1970-01-01", "", "2999-01-01")
        lower, upper = date.fromisoformat(first), date.fromisoformat(last or first)
        found = reversed(self.store.records("visits", _place, name="place"))
        least = int(asked.get("minTimestamp") or 0)
        return [
            record
            for record in found
            if lower <= self._local(record.updated_at).date() <= upper and record.updated_at.timestamp() >= least
        ]

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone)

    def shown(self, record: Record) -> dict[str, Any]:
        """A visit as the API shows it."""
        first, last, pages = record.created_at, record.updated_at, record["pages"]
        local = self._local(last)
        return {
            "idSite": "1",
            "idVisit": str(record.key),
            "visitIp": "203.0.0.0",
            "visitorId": record["visitor"],
            "userId": record["user"],
            "visitorType": "new",
            "countryCode": record["country"],
            "actions": str(len(pages)),
            "actionDetails": [
                {
                    "type": "action",
                    "url": f"https://shop.example{page}",
                    "pageIdAction": str(index),
                    "pageId": str(1000 * record.key + index),
                    "timestamp": int(first.timestamp()) + 9 * (index - 1),
                    "timeSpent": "9",
                }
                for index, page in enumerate(pages, 1)
            ],
            "visitDuration": str(int((last - first).total_seconds())),
            "firstActionTimestamp": int(first.timestamp()),
            "lastActionTimestamp": int(last.timestamp()),
            "lastActionDateTime": f"{local:%Y-%m-%d %H:%M:%S}",
            "serverTimestamp": int(last.timestamp()),
            "serverDate": f"{local:%Y-%m-%d}",
            "siteCurrency": "CNY",
        }


def _place(record: Record) -> tuple[datetime, int]:
    return record.updated_at, record.key


DIALECT = Matomo
