import { ValetkeyClient } from "@valetkey/client/ValetkeyClient"
import { Effect, Redacted } from "effect"
import { spawn } from "node:child_process"
import { createServer } from "node:http"
import { createRequire } from "node:module"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { race } from "./Race.ts"
import type { Section } from "./Table.ts"
import { valetkey, type World } from "./World.ts"

const mcpRemote = createRequire(import.meta.url).resolve("mcp-remote/dist/proxy.js")

const initialize = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "bench", version: "1" } }
})

/** From the start of a bridge to the answer to `initialize`, beside the bridge that most configurations name. */
export const bridging = async (world: World, rounds: number): Promise<Section> => {
  const { close, token, url } = await endpoint()
  try {
    await connect(world, url, token)
    const env = { ...world.env, HOME: world.home, MCP_REMOTE_CONFIG_DIR: join(world.home, "mcp-remote") }
    const theirs = [process.execPath, mcpRemote, url, "--allow-http", "--transport", "http-only"]
    return {
      title: "start of a stdio bridge to the answer to initialize",
      unit: "seconds",
      figures: await race(rounds, [
        ["mcp-remote", () => answered([...theirs, "--header", `Authorization:Bearer ${token}`], env)],
        ["valetkey mcp", () => answered([...valetkey, "mcp", "bridge"], env)]
      ]),
      limits: { "valetkey mcp": { atMost: 0.75 } }
    }
  } finally {
    await close()
  }
}

/** An MCP server that refuses whoever has no token, and costs nothing otherwise. */
const endpoint = async () => {
  const token = "bench-token"
  const result = { protocolVersion: "2025-06-18", capabilities: {}, serverInfo: { name: "bench", version: "1" } }
  const server = createServer((request, response) => {
    let body = ""
    request.on("data", (chunk) => body += String(chunk))
    request.on("end", () => {
      if (request.headers.authorization !== `Bearer ${token}`) return void response.writeHead(401).end()
      if (request.method !== "POST") return void response.writeHead(405).end()
      const { id } = JSON.parse(body) as { readonly id?: unknown }
      if (id === undefined) return void response.writeHead(202).end()
      response.writeHead(200, { "content-type": "application/json" })
      response.end(JSON.stringify({ jsonrpc: "2.0", id, result }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    token,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
  }
}

const connect = (world: World, url: string, token: string): Promise<void> =>
  ValetkeyClient.use((client) =>
    Effect.gen(function*() {
      yield* client.putServer("bridge", { resource: url })
      yield* client.deposit("bridge", {
        resource: url,
        tokenEndpoint: new URL("/token", url).href,
        clientId: "bench",
        refreshToken: Redacted.make("bench-refresh"),
        accessToken: Redacted.make(token)
      })
    })
  ).pipe(
    Effect.provide(
      ValetkeyClient.layerSocket({ socket: world.socket, tokenFile: join(world.home, "run/token") })
    ),
    Effect.runPromise
  )

/** Seconds until the first line; the process is ended then. */
const answered = async (command: ReadonlyArray<string>, env: NodeJS.ProcessEnv): Promise<number> => {
  const started = performance.now()
  const child = spawn(command[0]!, command.slice(1), { env, stdio: ["pipe", "pipe", "ignore"] })
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  let text = ""
  const line = new Promise<string | undefined>((resolve) => {
    child.stdout.on("data", (chunk) => {
      text += String(chunk)
      if (text.includes("\n")) resolve(text)
    })
    child.once("exit", () => resolve(undefined))
  })
  child.stdin.write(`${initialize}\n`)
  const answer = await line
  const seconds = (performance.now() - started) / 1000
  if (answer === undefined || !("result" in JSON.parse(answer.split("\n")[0]!))) {
    throw new Error(`${command.slice(1, 3).join(" ")} did not answer`)
  }
  child.kill("SIGTERM")
  await ended
  return seconds
}
