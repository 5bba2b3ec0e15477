"""How the report of clean looks: in light and in dark, on a screen of any width, and on paper."""

STYLE = """
:root{color-scheme:light dark;--paper:#fbfbf9;--card:#fff;--ink:#22303c;--quiet:#5f6b76;--line:#e3e7ea;
--kept:#1f6f8b;--was:#b9c6ce;--taken:#e07a3f;--mark:#ffe1c9;--good:#3b8456;--bad:#b8403a;--hold:#9a6b00}
@media (prefers-color-scheme:dark){:root{--paper:#14191e;--card:#1b2228;--ink:#e4e9ed;--quiet:#9aa6b1;--line:#2d363e;
--kept:#58adc9;--was:#4a5862;--taken:#f0935c;--mark:#6b3d1d;--good:#6fbf8c;--bad:#e77f79;--hold:#e2b64c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:72rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.7rem;letter-spacing:-.02em;margin:0}
h2{font-size:1.3rem;margin:0 0 .4rem;letter-spacing:-.01em}h2 small{font-weight:400;font-size:.85rem;color:var(--quiet)}
h3{font-size:1rem;margin:1.8rem 0 .2rem}
.lead{margin:.3rem 0 1rem;color:var(--quiet)}.note{margin:0 0 .6rem;font-size:.85rem;color:var(--quiet)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.4rem 1.5rem;
margin-top:2rem}
a{color:var(--kept);text-underline-offset:.15em}
code{font:.86em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.32rem .6rem;text-align:right;vertical-align:middle;border-bottom:1px solid var(--line)}
thead th{font-size:.78rem;font-weight:500;color:var(--quiet);vertical-align:bottom}
th:first-child{text-align:left;font-weight:500;padding-left:0}td:last-child{padding-right:0}
tbody tr:last-child>*{border-bottom:0}
td.none{color:var(--quiet);opacity:.6}td.why{text-align:left;color:var(--hold)}
th.names{text-align:left}td.names{text-align:left;font-size:.88rem;color:var(--quiet)}
.meter{display:inline-flex;align-items:center;gap:.5rem;min-width:7.5rem}
.meter i{flex:1;height:.5rem;border-radius:3px;background:var(--line);overflow:hidden}
.meter b{display:block;height:100%;background:var(--kept)}
.fall th:first-child{white-space:nowrap}.fall td.bars{width:46%;min-width:14rem;padding:.3rem .6rem}
.fall td{white-space:nowrap}.fall tr>*{border-bottom:0;padding-top:.18rem;padding-bottom:.18rem}
.fall tr.quiet th,.fall tr.quiet td:not(.bars){color:var(--quiet);opacity:.75}
.fall tr.end th{font-weight:700}.fall tr.end td:nth-child(4){font-weight:700}
.bars i{display:flex}.bars b,.bars u{display:block;height:100%;background:var(--kept)}
.bars u{background:var(--taken);text-decoration:none}.bars b.was{background:var(--was)}
.thick{height:.72rem}.thin{height:.24rem;margin-top:2px;opacity:.75}.mid{height:.5rem}.mid+.mid{margin-top:2px}
.bars u,.bars b:last-child{border-radius:0 2px 2px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:0 2.5rem}
.languages th:first-child{width:4.5rem;font-weight:400}.languages td.bars{width:60%}.languages tr>*{border:0}
.languages td:nth-child(3){color:var(--quiet)}
svg{width:100%;height:auto;display:block}svg text{font-size:10px;fill:var(--quiet);text-anchor:middle}
svg line{stroke:var(--line)}rect.was{fill:var(--was)}rect.is{fill:var(--kept)}
.legend{white-space:nowrap;margin-left:.4rem}.legend::before{content:"";display:inline-block;width:.7em;height:.7em;
border-radius:2px;margin-right:.35em;background:var(--kept)}.legend.was::before{background:var(--was)}
.chips{list-style:none;display:flex;flex-wrap:wrap;gap:.4rem .5rem;margin:.5rem 0 0;padding:0;font-size:.88rem}
.chips li{border:1px solid var(--line);border-radius:99px;padding:.1rem .7rem}.chips code{color:var(--quiet)}
.reasons{border-top:1px solid var(--line);margin-top:.6rem}
.reasons summary,.flat{display:grid;grid-template-columns:1rem minmax(8rem,18rem) minmax(6rem,12rem) 1fr 5rem;gap:.8rem;
align-items:center;padding:.42rem 0;cursor:pointer;list-style:none}
.reasons summary::-webkit-details-marker{display:none}.flat{cursor:default}
.reasons summary::before{content:"▸";color:var(--quiet)}.reasons details[open]>summary::before{content:"▾"}
.flat::before{content:""}.reasons>*{border-bottom:1px solid var(--line)}
.word{font-weight:600;overflow-wrap:anywhere}.rule{color:var(--quiet);font-size:.85rem}.count{text-align:right}
.reasons details>.note{margin:.2rem 0 .4rem 1.8rem}.reasons ol{margin:0 0 1rem;padding-left:3rem}
.reasons li{margin:.55rem 0}.reasons li p{margin:0;font-size:.88rem}
.reasons li::marker{color:var(--quiet);font-size:.8rem}
.key{font-weight:600}.reasons li span{color:var(--quiet);margin-left:.7rem}
blockquote{margin:.25rem 0 0;padding:.35rem .8rem;border-left:3px solid var(--line);white-space:pre-wrap;
overflow-wrap:anywhere;font:.84rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
mark{background:var(--mark);color:inherit;border-bottom:2px solid var(--taken)}
.badge{font-size:.78rem;font-weight:600;border-radius:99px;padding:.08rem .6rem;border:1px solid currentColor}
.badge.held{color:var(--hold)}.badge.met{color:var(--good)}.badge.broken{color:var(--bad)}
.held:not(.badge){color:var(--ink)}
@media (max-width:40rem){.reasons summary,.flat{grid-template-columns:1rem 1fr 4rem}.rule,.reasons .bars{display:none}}
@media print{section{break-inside:avoid-page;border-color:#ccc}details>*{display:block}}
"""
