// The floor of a cold start: a server that answers one path and does nothing else.
import { createServer } from "node:http"

createServer((request, response) => {
  response.writeHead(200, { "content-type": "application/json" })
  response.end("{\"status\":\"ok\"}")
}).listen(process.argv[2])
