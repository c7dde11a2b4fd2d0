// The floor of a proxied request: a header is replaced and bytes are passed on, both ways, over connections that are kept.
// No path rules, no policy, no token, no address rules, no header rules, no errors.
import { Agent, createServer, request } from "node:http"

const [socket, upstream] = process.argv.slice(2)
const target = new URL(upstream)
const agent = new Agent({ keepAlive: true })

createServer((incoming, answer) => {
  if (incoming.url === "/livez") return answer.end("{}")
  const outgoing = request(
    {
      agent,
      host: target.hostname,
      port: target.port,
      method: incoming.method,
      path: incoming.url,
      headers: { ...incoming.headers, host: target.host, authorization: "Bearer token" }
    },
    (response) => {
      answer.writeHead(response.statusCode, response.headers)
      response.pipe(answer)
    }
  )
  incoming.pipe(outgoing)
}).listen(socket)
