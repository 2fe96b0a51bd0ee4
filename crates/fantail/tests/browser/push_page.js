// A page of a site that was made for nginx's push stream module, in its five ways to get messages. Written from what such pages need
// of a server; tests/it/push_stream_chromium.rs puts it into a real page and looks at what it was told.

window.PushPage = class {
  // server: where the channels are. mode: 'eventsource', 'websocket', 'stream', 'longpolling' or 'jsonp'. channels: name to how many old
  // messages of it are wanted. byArgument: the place is said in the query, not in fields. lost: milliseconds until it comes back.
  constructor({ server, mode, channels, byArgument = false, lost = 50, silence = 30_000 }) {
    Object.assign(this, { server, mode, channels, byArgument, lost, silence });
    Object.assign(this, { tag: '', time: '', eventId: '', told: [], ends: [], opened: 0, closed: false });
  }

  open() {
    if (this.closed) return;
    this[this.mode]();
  }

  close() {
    this.closed = true;
    clearTimeout(this.watch);
    this.source?.close();
    this.socket?.close();
    this.frame?.remove();
    this.request?.abort();
    this.script?.remove();
  }

  // `sendMessage` of such pages.
  async send(text) {
    if (this.mode === 'websocket') return this.socket.send(text);
    const names = Object.keys(this.channels).join('/');
    const answer = await fetch(`${this.server}/pub?id=/${names}`, {
      method: 'POST',
      headers: { Accept: 'application/json', 'Content-Type': 'application/x-www-form-urlencoded' },
      body: encodeURIComponent(text),
    });
    if (answer.status !== 200) throw new Error(`a publish was answered with ${answer.status}`);
  }

  url(prefix, more = '') {
    const knows = this.byArgument && (this.time || this.eventId);
    const names = Object.entries(this.channels).map(([name, old]) => (old && !knows ? `${name}.b${old}` : name));
    const said = (value) => (this.byArgument ? encodeURIComponent(value) : '');
    const place = `tag=${said(this.tag)}&time=${said(this.time)}&eventid=${this.time ? '' : said(this.eventId)}`;
    return `${this.server}${prefix}/${names.join('/')}?_=${Date.now()}&${place}${more}`;
  }

  // A message as its template has it.
  take({ id, channel, text, tag, time, eventid }) {
    if (id === -2) this.told.push(['deleted', channel]);
    if (!(id > 0)) return;
    Object.assign(this, { tag, time, eventId: eventid });
    this.told.push(['message', channel, decodeURIComponent(text)]);
  }

  again(delay) {
    if (!this.closed) setTimeout(() => this.open(), delay);
  }

  eventsource() {
    this.source = new EventSource(this.url('/ev'));
    this.source.onopen = () => this.opened++;
    // Events with a name are none of its business, and coming back is the browser's.
    this.source.onmessage = ({ data }) => this.take(JSON.parse(data));
  }

  websocket() {
    this.socket = new WebSocket(this.url('/ws').replace(/^http/, 'ws'));
    this.socket.onopen = () => this.opened++;
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    this.socket.onclose = ({ code }) => {
      this.ends.push(code);
      this.again(this.lost);
    };
  }

  // Scripts in the endless page of a hidden frame; silence there means that the server is gone.
  stream() {
    const frame = document.createElement('iframe');
    const gone = () => {
      if (this.frame !== frame) return;
      frame.remove();
      this.frame = undefined;
      this.again(this.lost);
    };
    const alive = () => {
      clearTimeout(this.watch);
      this.watch = setTimeout(gone, this.silence);
    };
    window.PushStream = {
      register: (of) => {
        this.opened++;
        of.p = (id, channel, text, eventid, time, tag) => {
          alive();
          this.take({ id, channel, text, eventid, time, tag });
        };
      },
    };
    frame.hidden = true;
    frame.onload = gone;
    this.frame = frame;
    alive();
    frame.src = this.url('/sub', '&streamid=0');
    document.body.append(frame);
  }

  longpolling() {
    const request = new XMLHttpRequest();
    this.request = request;
    request.open('GET', this.url(this.byArgument ? '/lpa' : '/lp'));
    if (!this.byArgument) {
      if (this.tag) request.setRequestHeader('If-None-Match', this.tag);
      if (this.time) request.setRequestHeader('If-Modified-Since', this.time);
    }
    request.timeout = 32_000;
    request.ontimeout = () => this.again(100);
    request.onerror = () => this.again(this.lost);
    request.onload = () => {
      if (![200, 304].includes(request.status)) return this.again(this.lost);
      this.opened++;
      for (const message of request.responseText.replaceAll('}{', '}\r\n{').split('\r\n')) {
        if (message) this.take(JSON.parse(message));
      }
      if (!this.byArgument) {
        this.tag = request.getResponseHeader('Etag') ?? '';
        this.time = request.getResponseHeader('Last-Modified') ?? '';
        // What is old has come; asked for again, it would come again each time.
        for (const name of Object.keys(this.channels)) this.channels[name] = 0;
      }
      this.again(100);
    };
    request.send();
  }

  // The same for servers of another origin, in scripts that call a function of the page.
  jsonp() {
    const script = document.createElement('script');
    const call = `PushStreamManager_0_onmessage_${Date.now()}`;
    const over = (delay) => () => {
      script.remove();
      delete window[call];
      this.again(delay);
    };
    window[call] = (messages) => messages.forEach((message) => this.take(message));
    script.onload = over(100);
    script.onerror = over(this.lost);
    this.script = script;
    script.src = this.url('/lpa', `&callback=${call}`);
    document.head.append(script);
  }
};
