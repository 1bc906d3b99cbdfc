"""Pages that a person acts on. Each notes in #log what it saw: event, isTrusted, and what matters of the event."""

from __future__ import annotations

LOG = (
    "<pre id=log style='position:fixed;right:0;top:300px;pointer-events:none'></pre><script>"
    "const note=(...words)=>{"
    "document.getElementById('log').textContent+=words.join(' ')+'\\n'};"
    "const watch=(target,...kinds)=>kinds.forEach(kind=>target.addEventListener(kind,e=>"
    "note(kind,e.isTrusted,e.key??e.pointerType??'',e.target.id??'')))</script>"
)


def page(body: str, script: str = "", head: str = "") -> str:
    """Return a page with a log."""
    return f"<!doctype html>{head}<title>form</title>{LOG}{body}<script>{script}</script>"


FORMS = {
    "/button": page(
        "<button id=b>Go</button>", "watch(b,'pointerdown','mousedown','mouseup','click','touchstart')"
    ),
    "/field": page(
        "<input id=f value=abc><input id=mail type=email value=a@b><textarea id=area>one</textarea>"
        "<div id=rich contenteditable>rich</div><input id=ro readonly value=no><input id=off disabled>"
        "<label id=label>Name <input id=named></label><input id=date type=date>"
        "<select id=choice><option>One<option>Two<option>Three</select><input id=secret type=password>",
        "watch(f,'keydown','keypress','beforeinput','input','keyup')",
    ),
    "/late": page(
        "<div id=box></div>",
        "setTimeout(()=>{box.innerHTML='<button id=late style=display:none>Late</button>';"
        "watch(late,'click')},150);"
        "setTimeout(()=>late.style.display='',300)",
    ),
    "/disabled": page(
        "<button id=b disabled>Go</button><fieldset disabled><button id=never>No</button></fieldset>"
        "<div aria-disabled=true><button id=aria>No</button></div>",
        "watch(b,'click');setTimeout(()=>b.disabled=false,300)",
    ),
    "/covered": page(
        "<button id=b>Go</button><div id=over style='position:fixed;inset:0;background:#0003'></div>",
        "watch(b,'click');watch(over,'click');setTimeout(()=>over.remove(),300)",
    ),
    "/covered-forever": page("<button id=b>Go</button><div style='position:fixed;inset:0'></div>"),
    "/moving": page(
        "<button id=b style='position:absolute;left:0;top:200px'>Go</button>",
        "watch(b,'click');let x=0;const go=()=>{b.style.left=`${x+=7}px`;if(x<140)requestAnimationFrame(go)};go()",
    ),
    "/moving-forever": page(
        "<button id=b style='position:absolute'>Go</button>",
        "let x=0;const go=()=>{b.style.left=`${x=(x+5)%300}px`;requestAnimationFrame(go)};go()",
    ),
    "/below": page(
        "<header style='position:fixed;top:0;height:200px;width:100%;background:#ccc'>Bar</header>"
        "<div style='height:3000px'></div><button id=b>Go</button><div style='height:3000px'></div>"
        "<div style='height:100px;overflow:auto'><div style='height:900px'></div>"
        "<button id=inner>In</button></div>",
        "watch(b,'click');watch(inner,'click')",
        "<style>html{scroll-behavior:smooth}</style>",
    ),
    "/hover": page(
        "<button id=b style='position:absolute;left:300px;top:100px'>Go</button>",
        "watch(b,'click');b.onmouseenter=()=>b.style.left='420px'",
    ),
    "/shadow": page(
        "<x-outer id=outer></x-outer><x-closed id=closed></x-closed>",
        "const make=(host,mode,html)=>{const root=host.attachShadow({mode});root.innerHTML=html;return root};"
        "const a=make(outer,'open','<p class=text>outer text</p><x-inner id=inner></x-inner>');"
        "const c=make(a.getElementById('inner'),'open','<button id=deep>Deep</button><input id=field>');"
        "watch(c,'click');c.getElementById('field').oninput=e=>note('value',e.target.value);"
        "make(closed,'closed','<button id=unseen>No</button>')",
    ),
    "/frames": page(
        "<iframe src=/frame style='border:5px solid;padding:7px;margin-left:30px;width:300px'></iframe>"
        "<iframe src=/frame?small style='transform:scale(.5);width:300px;height:150px'></iframe>",
        "addEventListener('message',e=>note(e.data))",
    ),
    "/frame": "<body style='height:2000px'><div style='height:700px'></div><input id=i>"
    "<button id=b>In frame</button>"
    "<script>b.onclick=e=>parent.postMessage(`clicked ${e.isTrusted} ${location.search}`);"
    "i.oninput=()=>parent.postMessage(`typed ${i.value}`)</script>",
    "/clobbered": page(
        "<img name=querySelectorAll><form id=form><input name=getClientRects><input name=getBoundingClientRect>"
        "<input name=parentNode><button type=button id=b>Go</button></form>",
        "watch(b,'click');Document.prototype.querySelectorAll=()=>[];Element.prototype.getClientRects=()=>[];"
        "Document.prototype.elementFromPoint=()=>null;window.driftstack=()=>({value:{state:'missing'}})",
    ),
    "/throws": page(
        "<button id=b>Go</button><input id=f>",
        "for(const kind of ['pointerdown','mousedown','mouseup','click','keydown','input','focus','mousemove'])"
        "addEventListener(kind,()=>{throw new Error(kind)},true);b.addEventListener('click',()=>note('clicked'));"
        "addEventListener('error',()=>{throw new Error('again')})",
    ),
    "/keys": page("", "watch(window,'keydown','keyup')"),
    "/scrolls": "<title>[0,0,0]</title><div id=box style='height:200px;width:300px;overflow:auto'>"
    "<div style='height:3000px;width:3000px'></div></div><div style='height:5000px'></div><script>"
    "addEventListener('scroll',e=>{document.title=JSON.stringify([scrollY,box.scrollTop,box.scrollLeft]"
    ".map(Math.round))},true)</script>",
    "/asks": page(
        "<button id=alert>a</button><button id=confirm>c</button><button id=prompt>p</button>"
        "<button id=popup>w</button><a id=blank href=/popped target=_blank rel=noopener>b</a>"
        "<a id=window href=/window target=_blank rel=noopener>n</a>"
        "<a id=download href=/download>d</a><input id=file type=file>"
        "<button id=many>m</button><button id=close>x</button>",
        "alert_=alert;document.getElementById('alert').onclick=()=>alert_('hello');"
        "document.getElementById('confirm').onclick=()=>note('confirmed',window.confirm('sure?'));"
        "document.getElementById('prompt').onclick=()=>note('prompted',window.prompt('who?'));"
        "popup.onclick=()=>{w=open('/window')};many.onclick=()=>{for(let i=0;i<100;i++)open('/window?'+i)}",
    ),
    "/window": page(
        "<button id=close>Close</button>",
        "document.getElementById('close').onclick=()=>close();note(navigator.language,"
        "Intl.DateTimeFormat().resolvedOptions().timeZone,navigator.userAgent,innerWidth,devicePixelRatio)",
    ),
    "/hundred-popups": "<title>opener</title><script>for(let i=0;i<100;i++)open('/hello?'+i)</script>",
    "/reloads": "<title>reloads</title><h1>Reloads</h1><script>setTimeout(()=>location.reload(),5)</script>",
    "/tells": page("<input id=f>", "f.oninput=()=>{if(f.value.length===7)alert(f.value)}"),
    "/alerts-forever": "<title>alerts</title><script>addEventListener('load',()=>setTimeout(()=>{for(;;)alert(1)}))"
    "</script>",
    "/stuck-button": page("<button id=b>Go</button>", "b.onclick=()=>{for(;;);}"),
    "/leaves": page(
        "<button id=down>d</button><a id=link href=/hello>l</a>", "down.onmousedown=()=>{location='/hello'}"
    ),
    "/data": page(
        "<h1>Title  with <b>bold</b></h1><p class=price>€ 1,234.50</p><a id=link href='/x?y=1'>link</a>"
        "<ul><li data-n=1><span>One</span><i>1.5</i></li><li data-n=2><span>Two</span></li></ul>"
        "<p id=hidden style='display:none'>hidden text</p><input id=f value=typed>",
        "document.cookie='a=b; path=/';localStorage.setItem('k','v\\u00e9');localStorage.getItem=()=>'fooled'",
    ),
    "/lorem": "<p>" + "x" * 7_000_000 + "</p>",
    "/appears": page(
        "",
        "setTimeout(()=>{document.body.insertAdjacentHTML('beforeend','<p id=p>x</p>')},300);"
        "setTimeout(()=>history.pushState(0,'','/appears?step=2#x'),400);setTimeout(()=>p.hidden=true,600)",
    ),
}
