// Calls a resource on a person's behalf: `node examples/with-promises.ts notes https://mcp.example.com/mcp`.
import * as Promises from "@valetkey/client/Promises"

const [server = "notes", resource = "https://mcp.example.com/mcp"] = process.argv.slice(2)
const valetkey = Promises.connect()

try {
  // Adds a fresh token, replaces it when the resource answers 401, and sends it to no other origin.
  const notes = valetkey.fetch(server)
  console.log((await notes(resource)).status)
} finally {
  await valetkey.close()
}
