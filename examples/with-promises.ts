// Calls a resource on a person's behalf: `node examples/with-promises.ts notes https://mcp.example.com/mcp`.
import * as Promises from "@valetkey/client/Promises"

const [server = "notes", resource = "https://mcp.example.com/mcp"] = process.argv.slice(2)
const valetkey = Promises.connect()

const call = (accessToken: string): Promise<Response> =>
  fetch(resource, { headers: { authorization: `Bearer ${accessToken}` } })

try {
  const { accessToken } = await valetkey.token(server)
  const first = await call(accessToken)
  // A refused token is named once, so that the same one does not come back.
  const answer = first.status === 401
    ? await call((await valetkey.token(server, { rejected: accessToken })).accessToken)
    : first
  console.log(answer.status)
} finally {
  await valetkey.close()
}
