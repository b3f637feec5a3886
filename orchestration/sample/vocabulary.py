"""Words that the sample company's world is made of: names, places, pages, campaigns, comments.

Belongs here: constants only. Does not belong here: anything drawn at random (``world``) or written to a file.
Mail domains are the reserved example domains of RFC 2606, so that no address belongs to anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

# fmt: off
FAMILY_NAMES = (
    ("王", "Wang"), ("李", "Li"), ("张", "Zhang"), ("刘", "Liu"), ("陈", "Chen"), ("杨", "Yang"), ("黄", "Huang"),
    ("赵", "Zhao"), ("吴", "Wu"), ("周", "Zhou"), ("徐", "Xu"), ("孙", "Sun"), ("马", "Ma"), ("朱", "Zhu"),
    ("胡", "Hu"), ("郭", "Guo"), ("何", "He"), ("高", "Gao"), ("林", "Lin"), ("罗", "Luo"), ("郑", "Zheng"),
    ("梁", "Liang"), ("谢", "Xie"), ("宋", "Song"), ("唐", "Tang"), ("许", "Xu"), ("韩", "Han"), ("冯", "Feng"),
    ("邓", "Deng"), ("曹", "Cao"),
)
# fmt: on
"""Chinese family names as written and in pinyin."""
# fmt: off
GIVEN_NAMES = (
    ("伟", "Wei"), ("芳", "Fang"), ("娜", "Na"), ("敏", "Min"), ("静", "Jing"), ("丽", "Li"), ("强", "Qiang"),
    ("磊", "Lei"), ("军", "Jun"), ("洋", "Yang"), ("勇", "Yong"), ("艳", "Yan"), ("杰", "Jie"), ("涛", "Tao"),
    ("明", "Ming"), ("超", "Chao"), ("秀英", "Xiuying"), ("霞", "Xia"), ("平", "Ping"), ("刚", "Gang"),
    ("桂英", "Guiying"), ("建华", "Jianhua"), ("婷婷", "Tingting"), ("浩然", "Haoran"), ("子涵", "Zihan"),
    ("雨欣", "Yuxin"), ("梓萱", "Zixuan"), ("思远", "Siyuan"), ("晓东", "Xiaodong"), ("雪梅", "Xuemei"),
    ("志强", "Zhiqiang"), ("海燕", "Haiyan"), ("国庆", "Guoqing"), ("佳怡", "Jiayi"), ("俊杰", "Junjie"),
    ("文博", "Wenbo"), ("一诺", "Yinuo"), ("欣怡", "Xinyi"), ("宇轩", "Yuxuan"), ("博文", "Bowen"),
)
# fmt: on
WESTERN_FAMILY_NAMES = (
    *("Smith", "Müller", "Jones", "Brown", "Schmidt", "Taylor", "Weber", "Wilson", "Fischer", "Evans", "O'Neill"),
    *("Wagner", "Roberts", "Becker", "Walker", "Hoffmann", "White", "Schäfer", "Green", "Koch"),
)
WESTERN_GIVEN_NAMES = (
    *("Emma", "Paul", "Olivia", "Lukas", "Sophie", "James", "Anna", "Jörg", "Grace", "Felix", "Chloé", "Thomas"),
    *("Mia", "Daniel", "Laura", "Simon", "Julia", "Peter", "Sarah", "Max"),
)
NAME_TYPOS = {
    "伟": "玮",
    "芳": "方",
    "静": "婧",
    "丽": "莉",
    "强": "強",
    "涛": "濤",
    "明": "铭",
    "杰": "洁",
    "英": "瑛",
}
"""Characters that a clerk mistakes for one another."""

MAIL_DOMAINS = ("example.com", "mail.example.com", "example.org", "example.net", "mail.example.org")
MOBILE_PREFIXES = (
    *("130", "131", "132", "133", "135", "136", "137", "138", "139", "150", "151", "152", "153", "155", "156", "157"),
    *("158", "159", "173", "175", "176", "177", "178", "180", "181", "182", "183", "185", "186", "187", "188", "189"),
)
HOTLINE = "400 820 8820"
SHARED_MAILBOX = "info@trading.example.com"
INVALID_EMAILS = ("a@@x.cn", "no.at.example.com", "无", "user@", "@example.com")
INVALID_PHONES = ("12345", "00000000000", "无", "138001380", "n/a")


@dataclass(frozen=True)
class Place:
    """A place with the spellings that people type."""

    country: tuple[str, ...]
    region: tuple[str, ...]
    city: tuple[str, ...]
    web_country: str
    web_region: str
    web_city: str
    weight: float


_CHINA = ("中国", "China", "CN", "P.R. China", "china ", "中华人民共和国")
PLACES = (
    Place(_CHINA, ("北京", "北京市", "Beijing", "beijing"), ("北京", "Beijing"), "China", "Beijing", "Beijing", 0.17),
    Place(_CHINA, ("上海", "上海市", "Shanghai"), ("上海", "Shanghai"), "China", "Shanghai", "Shanghai", 0.17),
    Place(_CHINA, ("广东", "广东省", "Guangdong"), ("广州", "Guangzhou"), "China", "Guangdong", "Guangzhou", 0.14),
    Place(_CHINA, ("深圳市", "Shenzhen", "深圳"), ("深圳", "Shenzhen"), "China", "Guangdong", "Shenzhen", 0.12),
    Place(_CHINA, ("浙江", "浙江省", "Zhejiang"), ("杭州", "Hangzhou"), "China", "Zhejiang", "Hangzhou", 0.11),
    Place(_CHINA, ("江苏", "江苏省", "Jiangsu"), ("南京", "Nanjing"), "China", "Jiangsu", "Nanjing", 0.08),
    Place(_CHINA, ("四川", "四川省", "Sichuan"), ("成都", "Chengdu"), "China", "Sichuan", "Chengdu", 0.08),
    Place(_CHINA, ("湖北", "湖北省", "Hubei"), ("武汉", "Wuhan"), "China", "Hubei", "Wuhan", 0.05),
    Place(("Germany", "DE", "德国", "Deutschland"), ("",), ("Berlin",), "Germany", "Berlin", "Berlin", 0.05),
    Place(("United Kingdom", "UK", "英国", "GB"), ("",), ("London",), "United Kingdom", "England", "London", 0.03),
)
FIRST_FOREIGN_PLACE = 8

INDUSTRIES = ("manufacturing", "retail", "software", "logistics", "education", "health")
PRODUCTS = tuple(f"P{number:03d}" for number in range(1, 41))
PRODUCT_WORDS = ("智能音箱 Smart speaker", "空气净化器 Air purifier", "扫地机器人 Robot cleaner", "电饭煲 Rice cooker")

CHANNELS = ("web", "app", "store", "email", "phone", "chat", "wechat", "social", "ad")
"""Rows of the channel seed."""
TOUCHPOINTS = (
    *("search", "product_page", "cart", "checkout", "delivery", "app"),
    *("account", "support", "returns", "store", "newsletter", "campaign"),
)
"""Rows of the touchpoint seed."""
RATED_TOUCHPOINTS = TOUCHPOINTS[:9]
"""Touchpoints rated in the relational survey, in the order of its items."""


@dataclass(frozen=True)
class Traffic:
    """Where a visit comes from; ``acquisition`` is how the CRM calls it."""

    source: str
    medium: str
    campaign: str
    referrer: str
    acquisition: str
    weight: float


TRAFFIC = (
    Traffic("(direct)", "(none)", "(direct)", "", "web", 0.28),
    Traffic("baidu", "organic", "(organic)", "https://www.baidu.com/", "web", 0.22),
    Traffic("baidu", "cpc", "spring_sale", "https://www.baidu.com/", "ad", 0.14),
    Traffic("wechat", "social", "member_day", "https://mp.weixin.qq.com/", "wechat", 0.14),
    Traffic("google", "organic", "(organic)", "https://www.google.com/", "web", 0.08),
    Traffic("newsletter", "email", "weekly_digest", "", "email", 0.08),
    Traffic("weibo", "social", "double_eleven", "https://weibo.com/", "social", 0.06),
)
DIRECT_TRAFFIC, NEWSLETTER_TRAFFIC = 0, 5

USER_AGENTS = (
    "Mozilla/5.0 (Linux; Android 15; Mobile) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_5) AppleWebKit/605.1.15 Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Safari/604.1",
)
BOT_AGENTS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Mozilla/5.0 (X11; Linux x64) HeadlessChrome/139.0",
    "python-requests/2.32.3",
)
DEVICES = (
    ("mobile", "Android", "Chrome", 0.34),
    ("mobile", "iOS", "Safari", 0.26),
    ("desktop", "Windows", "Chrome", 0.24),
    ("desktop", "Macintosh", "Safari", 0.1),
    ("tablet", "iOS", "Safari", 0.06),
)
"""Category, system and browser; the position is the position of the user agent."""

COMMENTS_ZH = {
    "good": (
        "客服态度很好，问题当天就解决了",
        "配送很快，包装完整，会推荐给朋友",
        "商品质量不错，价格也合理",
        "App 很好用，下单方便",
        "一直在这里买，体验很稳定",
        "售后响应及时，点赞",
    ),
    "fair": (
        "总体还可以，希望优惠再多一些",
        "商品没问题，就是搜索不太好用",
        "物流速度一般",
        "页面有点复杂，找不到订单入口",
        "还行吧，没有特别的感觉",
    ),
    "poor": (
        "等了一个多星期才收到货，太慢了",
        "客服一直让我等，问题反复没有解决",
        "退货流程太麻烦，退款很久不到账",
        "支付页面老是报错",
        "描述与实物不符，很失望",
        "电话打不通，没有人负责",
    ),
}
COMMENTS_EN = {
    "good": (
        "Fast delivery and friendly support.",
        "Great value, I would recommend it to friends.",
        "The app makes reordering easy.",
        "Support solved my problem the same day.",
    ),
    "fair": ("It is fine, nothing special.", "Good products, but search is hard to use.", "Delivery could be faster."),
    "poor": (
        "Delivery took more than ten days.",
        "I had to explain my problem three times.",
        "The return process is painful and the refund is late.",
        "Checkout kept failing, very annoying.",
    ),
}
COMMENTS_HINTED = {
    "good": (
        "客服的態(tài)度很好,響應(yīng)及時",
        "整體體驗(yàn)不錯,會推薦給朋友",
        "產(chǎn)品質(zhì)量很好,配送速度也快",
    ),
    "fair": ("體驗(yàn)一般,希望優(yōu)化搜索", "頁面有點(diǎn)複雜,找不到訂單"),
    "poor": ("客服響應(yīng)太慢,問題沒有解決", "退貨過程太麻煩,體驗(yàn)很差", "實(shí)物與描述不符,很失望"),
}
"""Traditional characters with the pinyin hints that a faulty export inserts."""
COMMENTS_MOJIBAKE = {"good": ("客??态度很好",), "fair": ("物流??度一般",), "poor": ("退??流程太麻烦", "等了很??才收到")}
BUCKETS = ("good", "fair", "poor")

TICKET_TOPICS = (
    ("delivery", "delivery", "包裹没有收到 Parcel not received"),
    ("product", "product_page", "商品与描述不符 Item not as described"),
    ("payment", "checkout", "支付失败 Payment failed"),
    ("account", "account", "无法登录 Cannot log in"),
    ("returns", "returns", "退货退款 Return and refund"),
    ("app", "app", "App 闪退 App crashes"),
)
"""Category, touchpoint, subject."""
