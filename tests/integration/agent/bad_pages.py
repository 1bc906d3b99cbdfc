"""Pages that hold on, run on, or go away under whoever reads them."""

from __future__ import annotations

from tests.integration.agent.forms import page

BAD_PAGES = {
    "/polls": "<title>polls</title><h1>Here</h1><script>setInterval(()=>fetch('/slow?seconds=0.2'),50)</script>",
    "/refreshes": "<meta http-equiv=refresh content=0><title>refreshes</title><h1>Here</h1>",
    # Never parsed to its end: document.close() is missing.
    "/left-open": "<title>open</title><script>addEventListener('load',()=>{document.open();"
    "document.write('<title>open</title><h1>Here</h1>')})</script>",
    "/pushes": "<title>pushes</title><h1>Here</h1><script>let n=0;setInterval(()=>{for(let i=0;i<500;i++)"
    "try{history.pushState(0,'','/pushes?'+n++)}catch{location.hash=n++}})</script>",
    "/writes": "<title>writes</title><h1>Here</h1><script>addEventListener('load',()=>{let n=0;"
    "const again=()=>{document.open();document.write('<title>writes</title><h1>Here</h1>'+n++);"
    "document.close();setTimeout(again)};again()})</script>",
    "/frames-come-and-go": "<title>frames</title><h1>Here</h1><script>setInterval(()=>{"
    "document.querySelectorAll('iframe').forEach(each=>each.remove());for(let i=0;i<5;i++)"
    "document.body.append(Object.assign(document.createElement('iframe'),{src:'/hello?'+i}))},100)</script>",
    "/prints": "<title>prints</title><h1>Here</h1><script>print();setInterval(print,50)</script>",
    "/throws-always": "<title>throws</title><h1>Here</h1><script>setInterval(()=>{throw Error('x'.repeat(1e5))});"
    "setInterval(()=>console.log('x'.repeat(1e5)))</script>",
    "/deep": f"<title>deep</title><h1>Here</h1>{'<div>' * 10_000}<p id=bottom>bottom",
    # Deeper than the parser builds: Chromium's layout has no stack for it, and its renderer dies.
    "/bottomless": "<title>bottomless</title><h1>Here</h1><script>let at=document.body;for(let i=0;i<20000;i++)"
    "at=at.appendChild(document.createElement('div'));at.textContent='bottom'</script>",
    "/many": f"<title>many</title><h1>Here</h1><div hidden>{'<p>one</p>' * 100_000}</div>",
    "/stays": page(
        "<button id=b>Go</button><h1>Here</h1>",
        "watch(b,'click');addEventListener('beforeunload',e=>{e.preventDefault();e.returnValue='stay'});"
        "addEventListener('pagehide',()=>{const until=Date.now()+300;while(Date.now()<until);"
        "history.pushState(0,'','/stays?again')})",
    ),
    "/asks-rights": page(
        "<button id=b>Go</button>",
        "const asks={"
        "location:()=>new Promise((y,n)=>navigator.geolocation.getCurrentPosition(()=>y('given'),n)),"
        "notes:()=>Notification.requestPermission(),"
        "camera:()=>navigator.mediaDevices.getUserMedia({video:true,audio:true}),"
        "screen:()=>navigator.mediaDevices.getDisplayMedia(),"
        "clipboard:()=>navigator.clipboard.readText(),midi:()=>navigator.requestMIDIAccess({sysex:true}),"
        "files:()=>showOpenFilePicker(),usb:()=>navigator.usb.requestDevice({filters:[]})};"
        "const late=()=>new Promise(done=>setTimeout(done,500,'no answer'));"
        "b.onclick=async()=>{const told=await Promise.all(Object.entries(asks).map(async([name,ask])=>{"
        "try{return name+': '+await Promise.race([ask(),late()])}"
        "catch(error){return name+': '+(error.name||error.code)}}));"
        "document.body.insertAdjacentHTML('beforeend','<p id=told>'+told.join(', '))}",
    ),
    "/fullscreen": page(
        "<button id=b>Go</button>",
        "b.onclick=()=>document.documentElement.requestFullscreen().then(()=>note('full'),e=>note(e.name))",
    ),
    "/drops-frame": page(
        "<iframe src=/frame style='width:300px;height:100px'></iframe>",
        "const gone=()=>{const f=document.querySelector('iframe');if(f)f.remove()};"
        "addEventListener('message',gone);"
        "document.querySelector('iframe').onload=e=>{const d=e.target.contentDocument;"
        "for(const kind of ['mousemove','pointerdown'])d.addEventListener(kind,gone)}",
    ),
    "/closes": "<title>closes</title><h1>Here</h1><script>close();addEventListener('load',()=>close())</script>",
    "/closes-when-pressed": page("<button id=b>Go</button>", "b.onclick=()=>{close();open('','_self').close()}"),
    "/worker": "<title>worker</title><h1>Here</h1><script>navigator.serviceWorker.register('/worker.js')"
    ".then(()=>navigator.serviceWorker.ready).then(()=>{document.title='served'})</script>",
    "/burns": "<title>burns</title><h1>Here</h1><script>const w=URL.createObjectURL(new Blob(['for(;;);']));"
    "for(let i=0;i<4;i++)new Worker(w)</script>",
}

SERVICE_WORKER = (
    "onfetch=event=>{const path=new URL(event.request.url).pathname;"
    "if(path==='/made-up')event.respondWith(new Response('<title>made</title><h1>Made up</h1>',"
    "{status:418,headers:{'Content-Type':'text/html'}}));"
    "if(path==='/never')event.respondWith(new Promise(()=>{}))};"
    "oninstall=()=>skipWaiting();onactivate=event=>event.waitUntil(clients.claim())"
)
