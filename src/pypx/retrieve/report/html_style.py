"""How the report of a transfer looks: its style sheet.

In: nothing. Out: CSS for light and dark screens, phones and paper. Not here: what is on the page.
"""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--back:#f4f6f8;--ink:#17212b;--soft:#5b6875;
--rule:#e1e6eb;--good:#12805c;--goodback:#e3f4ec;--bad:#b3261e;--badback:#fbe9e7;--doubt:#8a5a00;
--doubtback:#fdf1d9;--calm:#0b62a8;--calmback:#e4f0fa;--bar:#3b82c4;--bar2:#5aa58a;--pic:#0d1318}
@media(prefers-color-scheme:dark){:root{--paper:#161c23;--back:#0e1318;--ink:#e6ebf0;
--soft:#97a4b1;--rule:#2a333d;--good:#5fd0a3;--goodback:#11322a;--bad:#ff8f85;--badback:#3b1a18;
--doubt:#f0bf5f;--doubtback:#362a10;--calm:#79b8f2;--calmback:#13293d;--bar:#4f97da;
--bar2:#5fb596;--pic:#05080b}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:28px 20px 40px}
section,header{background:var(--paper);border:1px solid var(--rule);border-radius:12px;
padding:20px 24px;margin:0 0 16px}
h1{font-size:26px;line-height:1.25;margin:4px 0 6px;letter-spacing:-.01em}
h2{font-size:17px;margin:0 0 12px}
p{margin:0 0 10px}
.soft,.meta,figcaption{color:var(--soft)}
.meta{font-size:13px;margin:0}
.eyebrow{font-size:13px;color:var(--soft);margin:0 0 10px;display:flex;gap:10px;
align-items:center;flex-wrap:wrap}
.tag{display:inline-block;font-size:12px;font-weight:600;padding:1px 9px;border-radius:99px;
white-space:nowrap;color:var(--calm);background:var(--calmback)}
.complete{--tone:var(--good)}.incomplete,.failed{--tone:var(--bad)}
.unknown,.cancelled{--tone:var(--doubt)}.running,.open,.busy{--tone:var(--calm)}
.tag.complete{color:var(--good);background:var(--goodback)}
.tag.incomplete,.tag.failed{color:var(--bad);background:var(--badback)}
.tag.unknown,.tag.cancelled{color:var(--doubt);background:var(--doubtback)}
header.verdict{border-top:5px solid var(--tone)}
.whole{display:flex;height:12px;border-radius:6px;overflow:hidden;background:var(--rule);
margin:16px 0 8px}
.whole i{display:block;min-width:2px}
.whole .r{background:var(--bar)}.whole .h{background:var(--bar2)}
.whole .m{background:var(--bad)}
.key{display:flex;gap:4px 18px;flex-wrap:wrap;font-size:13px;color:var(--soft);margin:0 0 4px;
padding:0;list-style:none}
.key li::before{content:"";display:inline-block;width:10px;height:10px;border-radius:3px;
margin-right:6px;background:var(--c)}
.tiles{display:grid;grid-template-columns:repeat(5,1fr);gap:1px;
background:var(--rule);border:1px solid var(--rule);border-radius:12px;overflow:hidden;
margin:0 0 16px}
.tiles div{background:var(--paper);padding:12px 16px}
.tiles dt{font-size:12.5px;color:var(--soft)}
.tiles dd{margin:0;font-size:21px;font-weight:600;letter-spacing:-.01em}
.tiles dd.bad{color:var(--bad)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:8px 20px}
figure{margin:0}figcaption{font-size:13px}
svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:var(--soft);font-family:inherit}
svg .v{text-anchor:end}svg .t{text-anchor:middle}
svg path{fill:none;stroke:var(--rule)}svg .base{stroke:var(--soft)}
svg.instances rect{fill:var(--bar)}svg.bytes rect{fill:var(--bar2)}
ul.notes{margin:0;padding-left:20px}ul.notes li{margin-bottom:6px}
pre{background:var(--back);border:1px solid var(--rule);border-radius:8px;padding:10px 12px;
margin:6px 0;overflow-x:auto;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace;
white-space:pre-wrap;overflow-wrap:anywhere}
.uid,code{font:12px/1.4 ui-monospace,SFMono-Regular,Menlo,monospace;color:var(--soft);
overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse;font-size:14px}
th{text-align:left;font-weight:600;font-size:12.5px;color:var(--soft);white-space:nowrap}
th,td{padding:7px 10px;vertical-align:top;border-bottom:1px solid var(--rule)}
tbody:last-child tr:last-child td{border-bottom:0}
.n{text-align:right;white-space:nowrap}
td.n.bad{color:var(--bad);font-weight:600}
td.words{overflow-wrap:anywhere}td.pic+td{width:52%}
tr.study th{background:var(--back);color:var(--ink);font-size:14px;white-space:normal;
padding:9px 10px}
tr.study .who{font-weight:400;color:var(--soft)}
tr.study .tag{float:right;margin-left:10px}
td.pic{width:68px;padding-right:2px}
.frame{width:56px;height:56px;border-radius:6px;background:var(--pic);display:flex;
align-items:center;justify-content:center;overflow:hidden}
.frame img{width:100%;height:100%;object-fit:contain;display:block}
.none{background:var(--back);border:1px dashed var(--rule);color:var(--soft);font-size:11px}
.what{font-weight:500}
.why{color:var(--bad);font-size:13px;font-weight:400}
.unknown .why,.open .why,.busy .why{color:var(--soft)}
details{margin-top:10px}summary{cursor:pointer;font-weight:600}
details ul{columns:300px;margin:8px 0;padding-left:18px}details li{break-inside:avoid}
dl.asked{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:0}
dl.asked dt{color:var(--soft)}dl.asked dd{margin:0;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:12.5px;padding:4px 4px 0}
@media(max-width:640px){
main{padding:12px 10px 24px}section,header{padding:16px 14px;border-radius:10px}
h1{font-size:21px}.tiles{grid-template-columns:1fr 1fr}.tiles dd{font-size:18px}
table.cards thead{display:none}
table.cards,table.cards tbody{display:block}
table.cards tr{display:flex;flex-wrap:wrap;gap:2px 14px;padding:10px 0;
border-bottom:1px solid var(--rule)}
table.cards td,table.cards th{display:block;border:0;padding:0;width:auto}
table.cards tr.study{margin:0 -14px;padding:0}
table.cards tr.study th{padding:9px 14px;width:100%}
table.cards td.words{flex:1 1 70%}
table.cards td.full{flex:1 1 100%}
table.cards td.n{text-align:left;font-size:13px}
table.cards td[data-t]::before{content:attr(data-t) " ";color:var(--soft);font-weight:400}
table.cards td:empty{display:none}
dl.asked{grid-template-columns:1fr}dl.asked dd{margin-bottom:6px}}
@media print{:root{--back:#fff}body{font-size:10.5pt}main{max-width:none;padding:0}
section,header,.tiles{border-radius:0;break-inside:auto}header,.tiles,figure,tr{break-inside:avoid}
h2{break-after:avoid}thead{display:table-header-group}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
