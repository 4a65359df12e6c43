"""What can be bought, and for how much. Prices are in the currency's minor unit; they never come from a client."""

from collections.abc import Mapping
from dataclasses import dataclass

from billing.domain.entry import Asset


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """So many credits or points, perhaps with a time of membership."""

    package_id: str
    name_zh: str
    name_en: str
    asset: Asset
    amount: int
    price_minor: int
    currency: str
    membership_days: int = 0
    popular: bool = False


def _credits(package_id: str, names: tuple[str, str], amount: int, price_minor: int, *, popular: bool = False) -> Package:
    return Package(
        package_id=package_id, name_zh=names[0], name_en=names[1], asset="credit", amount=amount, price_minor=price_minor, currency="CNY", popular=popular
    )


def _points(package_id: str, names: tuple[str, str], amount: int, price_minor: int, *, days: int = 0) -> Package:
    return Package(
        package_id=package_id, name_zh=names[0], name_en=names[1], asset="point", amount=amount, price_minor=price_minor, currency="USD", membership_days=days
    )


_ALL = (
    _credits("basic", ("基础套餐", "Basic"), 100, 990),
    _credits("standard", ("标准套餐", "Standard"), 500, 3990, popular=True),
    _credits("premium", ("高级套餐", "Premium"), 1000, 6990),
    _credits("ultimate", ("旗舰套餐", "Ultimate"), 3000, 19990),
    _points("points-800", ("800 点", "800 points"), 800, 200),
    _points("points-2400", ("2400 点", "2,400 points"), 2400, 500),
    _points("points-6000", ("6000 点", "6,000 points"), 6000, 1200),
    _points("member-30d", ("30 天会员", "Member for 30 days"), 2000, 500, days=30),
    _points("member-30d-plus", ("30 天高级会员", "Member for 30 days, plus"), 6000, 1500, days=30),
    _points("member-365d", ("365 天会员", "Member for a year"), 40_000, 9900, days=365),
    _points("member-lifetime", ("终身会员", "Member for life"), 160_000, 40_000, days=36_500),
)

PACKAGES: Mapping[str, Package] = {package.package_id: package for package in _ALL}
