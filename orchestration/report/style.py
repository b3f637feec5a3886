"""The page's style sheet: light and dark, screen and print. A module, so that it travels with the package."""

PAGE = """\
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f5f7f8; --ink: #1a2127; --muted: #57626d; --rule: #dbe1e6;
  --accent: #0b6b73; --warn: #855400; --bad: #a8231b; --ok: #1f6b3a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #13171a; --panel: #1b2125; --ink: #e7eaec; --muted: #9eaab4; --rule: #323b42;
    --accent: #62c3ca; --warn: #e2b45c; --bad: #f39a90; --ok: #83cf9d;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 66rem; padding: 2rem clamp(1rem, 4vw, 2.5rem) 4rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei",
    "Noto Sans CJK SC", sans-serif;
  overflow-wrap: break-word;
}
h1 { font-size: clamp(1.4rem, 1.1rem + 1.6vw, 1.9rem); line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 .9rem; }
h3 { font-size: .9rem; font-weight: 600; margin: 0; color: var(--muted); }
p, ul { margin: 0 0 .8rem; max-width: 46rem; }
ul { padding-left: 1.2rem; }
a { color: var(--accent); }
code {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .875em; overflow-wrap: anywhere;
}
section { margin-top: 2.4rem; padding-top: 1.6rem; border-top: 1px solid var(--rule); }
.status { border-left: 4px solid currentColor; padding: .35rem .8rem; background: var(--panel); max-width: none; }
.status span { color: var(--ink); }
.ok { color: var(--ok); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 2rem; margin: 0; font-size: .9rem; }
.facts div { display: flex; gap: .5rem; min-width: 0; }
.facts dt { color: var(--muted); } .facts dd { margin: 0; min-width: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); gap: 1.6rem 2.4rem; }
.tile p { margin: .15rem 0; font-variant-numeric: tabular-nums; }
.tile .figure { font-size: 2.8rem; font-weight: 600; line-height: 1.15; letter-spacing: -.02em; margin: .1rem 0 .3rem; }
.tile .figure.none { font-size: 1.5rem; padding: .6rem 0; }
.tile svg.interval { width: 100%; max-width: 16rem; height: auto; }
.note, figcaption { color: var(--muted); font-size: .875rem; }
.note p { margin: .3rem 0; }
p.note { margin-top: .6rem; }
.none { color: var(--muted); }
figure { margin: 0; }
svg { display: block; overflow: visible; }
svg.chart, svg.columns { width: 100%; height: auto; }
svg.columns { max-width: 20rem; }
.narrow { display: none; max-width: 26rem; }
.grid { stroke: var(--rule); stroke-width: 1; }
.zero { stroke: var(--muted); }
.band { fill: var(--accent); opacity: .17; }
.line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
.whisker { stroke: var(--accent); stroke-width: 3; stroke-linecap: round; opacity: .45; }
.dot, .fill { fill: var(--accent); }
.track { fill: var(--rule); opacity: .6; }
.tick, .base { font-size: 12px; font-variant-numeric: tabular-nums; fill: var(--ink); }
.base { fill: var(--muted); font-size: 11px; }
.end { fill: var(--muted); font-size: 6px; font-variant-numeric: tabular-nums; }
details { margin-top: .8rem; }
summary { cursor: pointer; color: var(--accent); font-size: .9rem; margin-bottom: .5rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; width: 100%; }
caption { text-align: left; color: var(--muted); font-size: .875rem; padding-bottom: .5rem; }
caption span { display: block; max-width: min(46rem, calc(100vw - 2rem)); }
th, td {
  padding: .4rem .9rem .4rem 0; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--rule);
}
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; border-bottom-color: var(--muted); }
tbody th { font-weight: 600; white-space: nowrap; }
td code { overflow-wrap: normal; }
td.num, th.num { text-align: right; white-space: nowrap; }
td.graph, th.graph { min-width: 7.5rem; white-space: nowrap; vertical-align: middle; }
th.graph { vertical-align: bottom; }
td.graph svg { width: 7.5rem; height: 1rem; }
td.graph svg.bar { width: 100%; min-width: 7.5rem; height: .8rem; }
td.text { min-width: 14rem; }
.tag {
  color: var(--bad); border: 1px solid currentColor; border-radius: 3px; padding: 0 .35em; font-size: .78rem;
  white-space: nowrap;
}
.links { columns: 2 16rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (max-width: 40rem) {
  .wide, td.graph, th.graph { display: none; }
  .narrow { display: block; }
  th, td { padding-right: .7rem; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #fff; --panel: #fff; --ink: #000; --muted: #444; --rule: #bbb;
    --accent: #0b6b73; --warn: #6b4300; --bad: #8f1a13; --ok: #14532d;
  }
  @page { size: A4; margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  section { margin-top: 1.2rem; padding-top: 1rem; }
  h2 { break-after: avoid; }
  figure, tr, .tile { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  .wide { display: block; } .narrow { display: none; }
  td.graph, th.graph { display: table-cell; }
  details::details-content { content-visibility: visible; block-size: auto; }
  summary { display: none; }
}
"""
