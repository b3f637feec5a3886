"""Codes and names of countries, currencies and languages, from the Unicode CLDR.

Belongs here: the tables, as text. Does not belong here: how a value is looked up (``places``, ``numbers``,
``text``).
"""

COUNTRIES = """\
AD|AND|Andorra|安道尔
AE|ARE|United Arab Emirates|阿拉伯联合酋长国|UAE|阿联酋
AF|AFG|Afghanistan|阿富汗
AG|ATG|Antigua & Barbuda|安提瓜和巴布达
AI|AIA|Anguilla|安圭拉
AL|ALB|Albania|阿尔巴尼亚
AM|ARM|Armenia|亚美尼亚
AO|AGO|Angola|安哥拉
AQ|ATA|Antarctica|南极洲
AR|ARG|Argentina|阿根廷
AS|ASM|American Samoa|美属萨摩亚
AT|AUT|Austria|奥地利|Österreich
AU|AUS|Australia|澳大利亚
AW|ABW|Aruba|阿鲁巴
AX|ALA|Åland Islands|奥兰群岛
AZ|AZE|Azerbaijan|阿塞拜疆
BA|BIH|Bosnia & Herzegovina|波斯尼亚和黑塞哥维那
BB|BRB|Barbados|巴巴多斯
BD|BGD|Bangladesh|孟加拉国
BE|BEL|Belgium|比利时
BF|BFA|Burkina Faso|布基纳法索
BG|BGR|Bulgaria|保加利亚
BH|BHR|Bahrain|巴林
BI|BDI|Burundi|布隆迪
BJ|BEN|Benin|贝宁
BL|BLM|St. Barthélemy|圣巴泰勒米
BM|BMU|Bermuda|百慕大
BN|BRN|Brunei|文莱|Brunei Darussalam
BO|BOL|Bolivia|玻利维亚|Plurinational State of Bolivia
BQ|BES|Caribbean Netherlands|荷属加勒比区
BR|BRA|Brazil|巴西|Brasil
BS|BHS|Bahamas|巴哈马
BT|BTN|Bhutan|不丹
BV|BVT|Bouvet Island|布韦岛
BW|BWA|Botswana|博茨瓦纳
BY|BLR|Belarus|白俄罗斯
BZ|BLZ|Belize|伯利兹
CA|CAN|Canada|加拿大
CC|CCK|Cocos (Keeling) Islands|科科斯（基林）群岛
CD|COD|Congo - Kinshasa|刚果（金）|DR Congo|DRC|Democratic Republic of the Congo
CF|CAF|Central African Republic|中非共和国
CG|COG|Congo - Brazzaville|刚果（布）|Republic of the Congo
CH|CHE|Switzerland|瑞士|Schweiz|Suisse
CI|CIV|Côte d’Ivoire|科特迪瓦|Cote d'Ivoire|Ivory Coast
CK|COK|Cook Islands|库克群岛
CL|CHL|Chile|智利
CM|CMR|Cameroon|喀麦隆
CN|CHN|China|中国|PRC|P.R. China|P.R.C.|People's Republic of China|Mainland China|Zhongguo|中华人民共和国|中国大陆|大陆
CO|COL|Colombia|哥伦比亚
CR|CRI|Costa Rica|哥斯达黎加
CU|CUB|Cuba|古巴
CV|CPV|Cape Verde|佛得角|Cabo Verde
CW|CUW|Curaçao|库拉索
CX|CXR|Christmas Island|圣诞岛
CY|CYP|Cyprus|塞浦路斯
CZ|CZE|Czechia|捷克|Czech Republic
DE|DEU|Germany|德国|Deutschland
DJ|DJI|Djibouti|吉布提
DK|DNK|Denmark|丹麦
DM|DMA|Dominica|多米尼克
DO|DOM|Dominican Republic|多米尼加共和国
DZ|DZA|Algeria|阿尔及利亚
EC|ECU|Ecuador|厄瓜多尔
EE|EST|Estonia|爱沙尼亚
EG|EGY|Egypt|埃及
EH|ESH|Western Sahara|西撒哈拉
ER|ERI|Eritrea|厄立特里亚
ES|ESP|Spain|西班牙|España
ET|ETH|Ethiopia|埃塞俄比亚
FI|FIN|Finland|芬兰
FJ|FJI|Fiji|斐济
FK|FLK|Falkland Islands|福克兰群岛
FM|FSM|Micronesia|密克罗尼西亚
FO|FRO|Faroe Islands|法罗群岛
FR|FRA|France|法国
GA|GAB|Gabon|加蓬
GB|GBR|United Kingdom|英国|UK|U.K.|Great Britain|Britain|England|Scotland|Wales|Northern Ireland|大不列颠|联合王国
GD|GRD|Grenada|格林纳达
GE|GEO|Georgia|格鲁吉亚
GF|GUF|French Guiana|法属圭亚那
GG|GGY|Guernsey|根西岛
GH|GHA|Ghana|加纳
GI|GIB|Gibraltar|直布罗陀
GL|GRL|Greenland|格陵兰
GM|GMB|Gambia|冈比亚
GN|GIN|Guinea|几内亚
GP|GLP|Guadeloupe|瓜德罗普
GQ|GNQ|Equatorial Guinea|赤道几内亚
GR|GRC|Greece|希腊
GS|SGS|South Georgia & South Sandwich Islands|南乔治亚和南桑威奇群岛
GT|GTM|Guatemala|危地马拉
GU|GUM|Guam|关岛
GW|GNB|Guinea-Bissau|几内亚比绍
GY|GUY|Guyana|圭亚那
HK|HKG|Hong Kong SAR China|中国香港特别行政区|Hong Kong|Hongkong|香港|中国香港
HM|HMD|Heard & McDonald Islands|赫德岛和麦克唐纳群岛
HN|HND|Honduras|洪都拉斯
HR|HRV|Croatia|克罗地亚
HT|HTI|Haiti|海地
HU|HUN|Hungary|匈牙利
ID|IDN|Indonesia|印度尼西亚
IE|IRL|Ireland|爱尔兰
IL|ISR|Israel|以色列
IM|IMN|Isle of Man|马恩岛
IN|IND|India|印度
IO|IOT|British Indian Ocean Territory|英属印度洋领地
IQ|IRQ|Iraq|伊拉克
IR|IRN|Iran|伊朗|Islamic Republic of Iran
IS|ISL|Iceland|冰岛
IT|ITA|Italy|意大利|Italia
JE|JEY|Jersey|泽西岛
JM|JAM|Jamaica|牙买加
JO|JOR|Jordan|约旦
JP|JPN|Japan|日本|日本国|Nippon
KE|KEN|Kenya|肯尼亚
KG|KGZ|Kyrgyzstan|吉尔吉斯斯坦
KH|KHM|Cambodia|柬埔寨
KI|KIR|Kiribati|基里巴斯
KM|COM|Comoros|科摩罗
KN|KNA|St. Kitts & Nevis|圣基茨和尼维斯
KP|PRK|North Korea|朝鲜|DPRK
KR|KOR|South Korea|韩国|South Korea|Korea|Republic of Korea|南韩|大韩民国
KW|KWT|Kuwait|科威特
KY|CYM|Cayman Islands|开曼群岛
KZ|KAZ|Kazakhstan|哈萨克斯坦
LA|LAO|Laos|老挝|Lao People's Democratic Republic
LB|LBN|Lebanon|黎巴嫩
LC|LCA|St. Lucia|圣卢西亚
LI|LIE|Liechtenstein|列支敦士登
LK|LKA|Sri Lanka|斯里兰卡
LR|LBR|Liberia|利比里亚
LS|LSO|Lesotho|莱索托
LT|LTU|Lithuania|立陶宛
LU|LUX|Luxembourg|卢森堡
LV|LVA|Latvia|拉脱维亚
LY|LBY|Libya|利比亚
MA|MAR|Morocco|摩洛哥
MC|MCO|Monaco|摩纳哥
MD|MDA|Moldova|摩尔多瓦|Republic of Moldova
ME|MNE|Montenegro|黑山
MF|MAF|St. Martin|法属圣马丁
MG|MDG|Madagascar|马达加斯加
MH|MHL|Marshall Islands|马绍尔群岛
MK|MKD|North Macedonia|北马其顿|Macedonia
ML|MLI|Mali|马里
MM|MMR|Myanmar (Burma)|缅甸|Burma
MN|MNG|Mongolia|蒙古
MO|MAC|Macao SAR China|中国澳门特别行政区|Macau|Macao|澳门|中国澳门
MP|MNP|Northern Mariana Islands|北马里亚纳群岛
MQ|MTQ|Martinique|马提尼克
MR|MRT|Mauritania|毛里塔尼亚
MS|MSR|Montserrat|蒙特塞拉特
MT|MLT|Malta|马耳他
MU|MUS|Mauritius|毛里求斯
MV|MDV|Maldives|马尔代夫
MW|MWI|Malawi|马拉维
MX|MEX|Mexico|墨西哥|México
MY|MYS|Malaysia|马来西亚
MZ|MOZ|Mozambique|莫桑比克
NA|NAM|Namibia|纳米比亚
NC|NCL|New Caledonia|新喀里多尼亚
NE|NER|Niger|尼日尔
NF|NFK|Norfolk Island|诺福克岛
NG|NGA|Nigeria|尼日利亚
NI|NIC|Nicaragua|尼加拉瓜
NL|NLD|Netherlands|荷兰|Holland|The Netherlands
NO|NOR|Norway|挪威
NP|NPL|Nepal|尼泊尔
NR|NRU|Nauru|瑙鲁
NU|NIU|Niue|纽埃
NZ|NZL|New Zealand|新西兰
OM|OMN|Oman|阿曼
PA|PAN|Panama|巴拿马
PE|PER|Peru|秘鲁
PF|PYF|French Polynesia|法属波利尼西亚
PG|PNG|Papua New Guinea|巴布亚新几内亚
PH|PHL|Philippines|菲律宾
PK|PAK|Pakistan|巴基斯坦
PL|POL|Poland|波兰
PM|SPM|St. Pierre & Miquelon|圣皮埃尔和密克隆群岛
PN|PCN|Pitcairn Islands|皮特凯恩群岛
PR|PRI|Puerto Rico|波多黎各
PS|PSE|Palestinian Territories|巴勒斯坦领土|Palestine|State of Palestine
PT|PRT|Portugal|葡萄牙
PW|PLW|Palau|帕劳
PY|PRY|Paraguay|巴拉圭
QA|QAT|Qatar|卡塔尔
RE|REU|Réunion|留尼汪
RO|ROU|Romania|罗马尼亚
RS|SRB|Serbia|塞尔维亚
RU|RUS|Russia|俄罗斯|Russian Federation|俄国
RW|RWA|Rwanda|卢旺达
SA|SAU|Saudi Arabia|沙特阿拉伯
SB|SLB|Solomon Islands|所罗门群岛
SC|SYC|Seychelles|塞舌尔
SD|SDN|Sudan|苏丹
SE|SWE|Sweden|瑞典
SG|SGP|Singapore|新加坡|新加坡
SH|SHN|St. Helena|圣赫勒拿
SI|SVN|Slovenia|斯洛文尼亚
SJ|SJM|Svalbard & Jan Mayen|斯瓦尔巴和扬马延
SK|SVK|Slovakia|斯洛伐克
SL|SLE|Sierra Leone|塞拉利昂
SM|SMR|San Marino|圣马力诺
SN|SEN|Senegal|塞内加尔
SO|SOM|Somalia|索马里
SR|SUR|Suriname|苏里南
SS|SSD|South Sudan|南苏丹
ST|STP|São Tomé & Príncipe|圣多美和普林西比
SV|SLV|El Salvador|萨尔瓦多
SX|SXM|Sint Maarten|荷属圣马丁
SY|SYR|Syria|叙利亚|Syrian Arab Republic
SZ|SWZ|Eswatini|斯威士兰|Swaziland
TC|TCA|Turks & Caicos Islands|特克斯和凯科斯群岛
TD|TCD|Chad|乍得
TF|ATF|French Southern Territories|法属南部领地
TG|TGO|Togo|多哥
TH|THA|Thailand|泰国
TJ|TJK|Tajikistan|塔吉克斯坦
TK|TKL|Tokelau|托克劳
TL|TLS|Timor-Leste|东帝汶
TM|TKM|Turkmenistan|土库曼斯坦
TN|TUN|Tunisia|突尼斯
TO|TON|Tonga|汤加
TR|TUR|Türkiye|土耳其|Turkey|Türkiye
TT|TTO|Trinidad & Tobago|特立尼达和多巴哥
TV|TUV|Tuvalu|图瓦卢
TW|TWN|Taiwan|台湾|中国台湾|台湾省|Taiwan, China|Chinese Taipei
TZ|TZA|Tanzania|坦桑尼亚|United Republic of Tanzania
UA|UKR|Ukraine|乌克兰
UG|UGA|Uganda|乌干达
UM|UMI|U.S. Outlying Islands|美国本土外小岛屿
US|USA|United States|美国|USA|U.S.|U.S.A.|America|United States of America|US of A|美利坚合众国
UY|URY|Uruguay|乌拉圭
UZ|UZB|Uzbekistan|乌兹别克斯坦
VA|VAT|Vatican City|梵蒂冈|Holy See
VC|VCT|St. Vincent & Grenadines|圣文森特和格林纳丁斯
VE|VEN|Venezuela|委内瑞拉|Bolivarian Republic of Venezuela
VG|VGB|British Virgin Islands|英属维尔京群岛
VI|VIR|U.S. Virgin Islands|美属维尔京群岛
VN|VNM|Vietnam|越南|Viet Nam
VU|VUT|Vanuatu|瓦努阿图
WF|WLF|Wallis & Futuna|瓦利斯和富图纳
WS|WSM|Samoa|萨摩亚
XK|XKK|Kosovo|科索沃
YE|YEM|Yemen|也门
YT|MYT|Mayotte|马约特
ZA|ZAF|South Africa|南非
ZM|ZMB|Zambia|赞比亚
ZW|ZWE|Zimbabwe|津巴布韦
"""
"""One country a line: ISO 3166-1 alpha-2, alpha-3, English name, Chinese name, further names."""

CURRENCIES = """\
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL
HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD
MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG
QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SYP SZL THB TJS TMT TND TOP TRY TTD TWD
TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
"""ISO 4217 codes of the currencies in use."""

LANGUAGES = """\
aa|Afar|阿法尔语
ab|Abkhazian|阿布哈西亚语
ae|Avestan|阿维斯塔语
af|Afrikaans|南非荷兰语
ak|Akan|阿肯语
am|Amharic|阿姆哈拉语
an|Aragonese|阿拉贡语
ar|Arabic|阿拉伯语
as|Assamese|阿萨姆语
av|Avaric|阿瓦尔语
ay|Aymara|艾马拉语
az|Azerbaijani|阿塞拜疆语
ba|Bashkir|巴什基尔语
be|Belarusian|白俄罗斯语
bg|Bulgarian|保加利亚语
bi|Bislama|比斯拉马语
bm|Bambara|班巴拉语
bn|Bangla|孟加拉语
bo|Tibetan|藏语
br|Breton|布列塔尼语
bs|Bosnian|波斯尼亚语
ca|Catalan|加泰罗尼亚语
ce|Chechen|车臣语
ch|Chamorro|查莫罗语
co|Corsican|科西嘉语
cr|Cree|克里语
cs|Czech|捷克语
cu|Church Slavic|教会斯拉夫语
cv|Chuvash|楚瓦什语
cy|Welsh|威尔士语
da|Danish|丹麦语
de|German|德语
dv|Divehi|迪维希语
dz|Dzongkha|宗卡语
ee|Ewe|埃维语
el|Greek|希腊语
en|English|英语
eo|Esperanto|世界语
es|Spanish|西班牙语
et|Estonian|爱沙尼亚语
eu|Basque|巴斯克语
fa|Persian|波斯语
ff|Fula|富拉语
fi|Finnish|芬兰语
fj|Fijian|斐济语
fo|Faroese|法罗语
fr|French|法语
fy|Western Frisian|西弗里西亚语
ga|Irish|爱尔兰语
gd|Scottish Gaelic|苏格兰盖尔语
gl|Galician|加利西亚语
gn|Guarani|瓜拉尼语
gu|Gujarati|古吉拉特语
gv|Manx|马恩语
ha|Hausa|豪萨语
he|Hebrew|希伯来语
hi|Hindi|印地语
ho|Hiri Motu|希里莫图语
hr|Croatian|克罗地亚语
ht|Haitian Creole|海地克里奥尔语
hu|Hungarian|匈牙利语
hy|Armenian|亚美尼亚语
hz|Herero|赫雷罗语
ia|Interlingua|国际语
id|Indonesian|印度尼西亚语
ie|Interlingue|国际文字（E）
ig|Igbo|伊博语
ii|Sichuan Yi|凉山彝语
ik|Inupiaq|伊努皮克语
io|Ido|伊多语
is|Icelandic|冰岛语
it|Italian|意大利语
iu|Inuktitut|因纽特语
ja|Japanese|日语
jv|Javanese|爪哇语
ka|Georgian|格鲁吉亚语
kg|Kongo|刚果语
ki|Kikuyu|吉库尤语
kj|Kuanyama|宽亚玛语
kk|Kazakh|哈萨克语
kl|Kalaallisut|格陵兰语
km|Khmer|高棉语
kn|Kannada|卡纳达语
ko|Korean|韩语
kr|Kanuri|卡努里语
ks|Kashmiri|克什米尔语
ku|Kurdish|库尔德语
kv|Komi|科米语
kw|Cornish|康沃尔语
ky|Kyrgyz|柯尔克孜语
la|Latin|拉丁语
lb|Luxembourgish|卢森堡语
lg|Ganda|卢干达语
li|Limburgish|林堡语
ln|Lingala|林加拉语
lo|Lao|老挝语
lt|Lithuanian|立陶宛语
lu|Luba-Katanga|鲁巴加丹加语
lv|Latvian|拉脱维亚语
mg|Malagasy|马拉加斯语
mh|Marshallese|马绍尔语
mi|Māori|毛利语
mk|Macedonian|马其顿语
ml|Malayalam|马拉雅拉姆语
mn|Mongolian|蒙古语
mr|Marathi|马拉地语
ms|Malay|马来语
mt|Maltese|马耳他语
my|Burmese|缅甸语
na|Nauru|瑙鲁语
nb|Norwegian Bokmål|书面挪威语
nd|North Ndebele|北恩德贝勒语
ne|Nepali|尼泊尔语
ng|Ndonga|恩东加语
nl|Dutch|荷兰语
nn|Norwegian Nynorsk|挪威尼诺斯克语
no|Norwegian|挪威语
nr|South Ndebele|南恩德贝勒语
nv|Navajo|纳瓦霍语
ny|Nyanja|齐切瓦语
oc|Occitan|奥克语
oj|Ojibwa|奥吉布瓦语
om|Oromo|奥罗莫语
or|Odia|奥里亚语
os|Ossetic|奥塞梯语
pa|Punjabi|旁遮普语
pi|Pali|巴利语
pl|Polish|波兰语
ps|Pashto|普什图语
pt|Portuguese|葡萄牙语
qu|Quechua|克丘亚语
rm|Romansh|罗曼什语
rn|Rundi|隆迪语
ro|Romanian|罗马尼亚语
ru|Russian|俄语
rw|Kinyarwanda|卢旺达语
sa|Sanskrit|梵语
sc|Sardinian|萨丁语
sd|Sindhi|信德语
se|Northern Sami|北方萨米语
sg|Sango|桑戈语
sh|Serbo-Croatian|塞尔维亚-克罗地亚语
si|Sinhala|僧伽罗语
sk|Slovak|斯洛伐克语
sl|Slovenian|斯洛文尼亚语
sm|Samoan|萨摩亚语
sn|Shona|绍纳语
so|Somali|索马里语
sq|Albanian|阿尔巴尼亚语
sr|Serbian|塞尔维亚语
ss|Swati|斯瓦蒂语
st|Southern Sotho|南索托语
su|Sundanese|巽他语
sv|Swedish|瑞典语
sw|Swahili|斯瓦希里语
ta|Tamil|泰米尔语
te|Telugu|泰卢固语
tg|Tajik|塔吉克语
th|Thai|泰语
ti|Tigrinya|提格利尼亚语
tk|Turkmen|土库曼语
tl|Tagalog|他加禄语
tn|Tswana|茨瓦纳语
to|Tongan|汤加语
tr|Turkish|土耳其语
ts|Tsonga|聪加语
tt|Tatar|鞑靼语
tw|Twi|契维语
ty|Tahitian|塔希提语
ug|Uyghur|维吾尔语
uk|Ukrainian|乌克兰语
ur|Urdu|乌尔都语
uz|Uzbek|乌兹别克语
ve|Venda|文达语
vi|Vietnamese|越南语
vo|Volapük|沃拉普克语
wa|Walloon|瓦隆语
wo|Wolof|沃洛夫语
xh|Xhosa|科萨语
yi|Yiddish|意第绪语
yo|Yoruba|约鲁巴语
za|Zhuang|壮语
zh|Chinese|中文
zu|Zulu|祖鲁语
"""
"""One language a line: ISO 639-1 code, English name, Chinese name."""
