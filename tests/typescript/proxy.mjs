// A proxy in front of the API that does something else with the streams of events.
import { createServer, request as forward } from "node:http";

/**
 * Return a running proxy. onStream: is called with the request and both answers of each stream,
 * and whether it returns true decides that the answer is not passed on. streams: the paths of all
 * streams. reads: the number of other requests.
 */
export async function proxyOf(url, onStream) {
  const proxy = { url: "", streams: [], reads: 0, close };
  const server = createServer((incoming, outgoing) => {
    const target = new URL(incoming.url ?? "", url);
    const isStream = target.pathname.endsWith("/events");
    if (isStream) proxy.streams.push(`${target.pathname}${target.search}`);
    else proxy.reads += 1;
    const options = { method: incoming.method, headers: incoming.headers };
    const passed = forward(target, options, (answer) => {
      if (isStream && onStream(outgoing, answer, proxy.streams.length)) return;
      answer.pipe(outgoing.writeHead(answer.statusCode ?? 500, answer.headers));
      answer.on("error", () => outgoing.destroy());
    });
    passed.on("error", () => outgoing.destroy());
    outgoing.on("close", () => passed.destroy());
    incoming.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  proxy.url = `http://127.0.0.1:${server.address().port}`;
  return proxy;

  function close() {
    server.close();
    server.closeAllConnections();
  }
}
