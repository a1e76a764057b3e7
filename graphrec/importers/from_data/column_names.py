"""What the name of a column says of it, in the words data sets use."""

from __future__ import annotations

import re

__all__ = [
    "history_named",
    "identity_named",
    "measure_named",
    "side_named",
    "time_named",
    "weight_named",
]

_MEASURE = re.compile(
    r"(^|_)(num|number|count|counts|cnt|age|price|days|hours|minutes|seconds|duration|length|width|"
    r"height|size|amount|amt|score|rate|ratio|year|years|weeks|months|avg|mean|sum|total|qty|"
    r"quantity|distance|dist|weight|income|salary|wage|pct|percent|level_num|cost|bid|budget|fee|"
    r"revenue|balance|spend|spent|discount|temperature|speed|area|volume|lat|latitude|lon|lng|"
    r"longitude|depth|gain|gains|loss|losses|dividends|capital|freq|frequency|visits|sessions|"
    r"impressions|pageviews|recency|tenure)(_|s?$)"
)
_IDENTITY = re.compile(
    r"(^|_)(id|ids|uid|pid|aid|iid|vid|cid|sid|code|type|cat|cate|category|class|group|hour|weekday|"
    r"month|zip|zip3|zipcode|tab|flag|gender|sex|is|has|feat\d*|level|range|kind|status|user|users|"
    r"item|items|brand|campaign|adgroup|publisher|merchant|customer|member|visitor|product|sku|goods|"
    r"shop|store|seller|vendor|author|artist|singer|creator|uploader|video|movie|film|song|music|"
    r"track|album|book|news|article|game|city|region|province|country|state|district|area_code|"
    r"device|browser|os|platform|channel|app|site|domain|page|query|keyword|ad|ads|advertiser|"
    r"creative|slot|position|banner|carrier|network|model|language|lang|occupation|job|industry|"
    r"topic|tag|tags|genre|genres|segment|cluster|queue|version)(_|\d*$)"
)
_TIME = re.compile(
    r"(^|_)(ts|time|timestamp|datetime|date|day|day_id|dt|unixtime|created|updated)"
    r"(_(ms|s|sec|us|at))?$"
)
_HISTORY = re.compile(
    r"(^|_)(hist|history|histories|seq|sequence|clicked|clicks|click|viewed|views|view|liked|bought|"
    r"buy|purchased|recent|past|last|prev|previous|behaviou?rs?|watched|shown|seen)(_|\d|$)"
)
_WEIGHT = re.compile(r"^((sample|row|instance|example|case|importance)_?weights?|weights?)$")
_SIDES = {
    "user": r"^(u|uid|user|users|member|customer|visitor|viewer|buyer|reader|account|cust)(_|$)",
    "item": r"^(i|iid|item|items|product|goods|sku|video|movie|film|song|track|book|news|article|"
    r"ad|adgroup|creative|game|app|listing|post|photo|content|doc|candidate|target)(_|$)",
}


def measure_named(name: str) -> bool:
    """An amount, a count, a size: `price`, `num_clicks`."""
    return _MEASURE.search(name.lower()) is not None


def identity_named(name: str) -> bool:
    """Something that is one of many: `brand_id`, `os`."""
    return _IDENTITY.search(name.lower()) is not None


def time_named(name: str) -> bool:
    """A moment or a day: `ts`, `created_at`."""
    return _TIME.search(name.lower()) is not None


def history_named(name: str) -> bool:
    """What somebody did before: `hist_items`, `clicked_50`."""
    return _HISTORY.search(name.lower()) is not None


def weight_named(name: str) -> bool:
    """How much a row counts: `sample_weight`."""
    return _WEIGHT.search(name.lower()) is not None


def side_named(name: str) -> str:
    """`user` or `item` where the name begins with such a word, else ""."""
    return next((side for side, words in _SIDES.items() if re.search(words, name.lower())), "")
