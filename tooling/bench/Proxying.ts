import autocannon from "autocannon"
import { readFileSync } from "node:fs"
import { createServer, request } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { start } from "./Processes.ts"
import { race } from "./Race.ts"
import type { Section } from "./Table.ts"
import type { World } from "./World.ts"

const floor = join(import.meta.dirname, "floors/proxy.mjs")

/** Requests through the proxy to a resource that answers 1 kB, beside a bare pass-through. Shown without a limit. */
export const proxying = async (world: World, rounds: number): Promise<Section> => {
  const bearer = readFileSync(join(world.home, "run/token"), "utf8").trim()
  const body = "x".repeat(1024)
  const resource = createServer((_, response) => response.end(body))
  await new Promise<void>((resolve) => void resource.listen(0, "127.0.0.1", resolve))
  const url = `http://127.0.0.1:${(resource.address() as AddressInfo).port}`
  const socket = join(world.home, "proxy.sock")
  const bare = await start([process.execPath, floor, socket, url], { socket, path: "/livez" })
  try {
    await put(world, bearer, "/v1/servers/proxied", { resource: url })
    await put(world, bearer, "/v1/connections/proxied", {
      tokenEndpoint: `${url}/token`,
      clientId: "bench",
      refreshToken: "none",
      accessToken: "bench-access-token",
      expiresAt: new Date(Date.now() + 86_400_000).toISOString()
    })
    return {
      title: "requests passed on to a resource, 32 connections",
      unit: "requests per second",
      figures: await race(rounds, [
        ["bare node:http pass-through", () => load(socket, "/x", bearer)],
        ["valetkey serve", () => load(world.socket, "/v1/proxy/proxied/x", bearer)]
      ]),
      limits: {}
    }
  } finally {
    await bare.stop()
    resource.close()
    resource.closeAllConnections()
  }
}

const put = (world: World, bearer: string, path: string, body: object): Promise<void> =>
  new Promise((resolve, reject) => {
    const text = JSON.stringify(body)
    request({
      socketPath: world.socket,
      method: "PUT",
      path,
      headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json", "content-length": text.length }
    }, (response) => {
      response.resume()
      if (response.statusCode === 201) resolve()
      else reject(new Error(`${path} answered ${response.statusCode}`))
    }).on("error", reject).end(text)
  })

const load = async (socketPath: string, path: string, bearer: string): Promise<number> => {
  const result = await autocannon({
    url: `http://localhost${path}`,
    socketPath,
    headers: { authorization: `Bearer ${bearer}`, host: "localhost" },
    connections: 32,
    duration: 2,
    workers: 1
  })
  if (result.non2xx > 0 || result.errors > 0) throw new Error(`${result.non2xx + result.errors} requests failed`)
  return result.requests.average
}
