import { lstatSync, readFileSync } from "node:fs"
import { connect } from "node:net"
import { dirname } from "node:path"

// No Effect and no node:http here: together they would double the time in which a command hands out a token.

/** What went wrong on the way to the socket, before or instead of an answer. */
export type LocalSocketCode =
  /** Nobody listens: there is no socket, or nobody behind it. */
  | "not_running"
  /** The socket or its directory belongs to somebody else, or others could have put it there. No byte was sent. */
  | "not_ours"
  /** The connection ended before the answer was complete. */
  | "disconnected"
  /** What answered does not speak HTTP. */
  | "not_http"

/** Failure of a request to a local server. */
export class LocalSocketError extends Error {
  override readonly name = "LocalSocketError"
  readonly code: LocalSocketCode
  constructor(code: LocalSocketCode) {
    super(sentences[code])
    this.code = code
  }
}

const sentences: { readonly [Code in LocalSocketCode]: string } = {
  not_running: "No server listens there",
  not_ours: "The socket, its directory or the token file is not private to this user",
  disconnected: "The connection ended before the answer was complete",
  not_http: "What answered is not a Valetkey server"
}

/** A request over the socket. */
export interface LocalRequest {
  readonly socket: string
  readonly method: string
  /** Path and query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly body?: string | Uint8Array | undefined
  readonly signal?: AbortSignal | undefined
}

/** The whole answer. Header names are lower case. */
export interface LocalResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Checks that the socket and its directory belong to this user alone. Throws `LocalSocketError`. */
export const check = (socket: string): void => {
  const directory = found(dirname(socket))
  if (!directory.isDirectory() || isForeign(directory) || (directory.mode & 0o077) !== 0) {
    throw new LocalSocketError("not_ours")
  }
  const self = found(socket)
  if (!self.isSocket() || isForeign(self)) throw new LocalSocketError("not_ours")
}

/** Reads the token of the server's present life. Throws `LocalSocketError`. */
export const readToken = (file: string): string => {
  const self = found(file)
  if (!self.isFile() || isForeign(self) || (self.mode & 0o077) !== 0) throw new LocalSocketError("not_ours")
  return readFileSync(file, "utf8").trim()
}

/** Sends one request on a connection of its own and reads the whole answer. Rejects with `LocalSocketError`. */
export const request = (input: LocalRequest): Promise<LocalResponse> =>
  new Promise((resolve, reject) => {
    check(input.socket)
    const bytes = format(input)
    const connection = connect(input.socket)
    const chunks: Array<Buffer> = []
    let size = 0
    const fail = (code: LocalSocketCode) => {
      connection.destroy()
      reject(new LocalSocketError(code))
    }
    const finish = (ended: boolean) => {
      const answer = parse(Buffer.concat(chunks), ended)
      if (answer === "incomplete") {
        if (ended) fail("disconnected")
      } else if (answer === "malformed") {
        fail("not_http")
      } else {
        // Behind whoever waits: one that has what it came for may end first.
        setImmediate(() => connection.destroy())
        resolve(answer)
      }
    }
    if (input.signal?.aborted === true) return fail("disconnected")
    input.signal?.addEventListener("abort", () => fail("disconnected"), { once: true })
    connection.on("connect", () => connection.write(bytes))
    connection.on("data", (chunk: Buffer) => {
      chunks.push(chunk)
      size += chunk.length
      if (size > maxResponse) fail("not_http")
      else finish(false)
    })
    connection.on("end", () => finish(true))
    connection.on("error", (error: NodeJS.ErrnoException) =>
      fail(
        error.code === "ENOENT" || error.code === "ECONNREFUSED"
          ? "not_running"
          : error.code === "EACCES" || error.code === "EPERM"
          ? "not_ours"
          : "disconnected"
      ))
  })

const maxResponse = 8 * 1024 * 1024

const found = (path: string) => {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (stats === undefined) throw new LocalSocketError("not_running")
  return stats
}

const isForeign = (stats: { readonly uid: number }): boolean =>
  process.getuid !== undefined && stats.uid !== process.getuid()

const format = ({ body, headers, method, path }: LocalRequest): Buffer => {
  const payload = body === undefined ? Buffer.alloc(0) : Buffer.from(body)
  const lines = [`${method} ${path} HTTP/1.1`, "host: localhost", "connection: close"]
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (!/^(host|connection|content-length)$/i.test(name)) lines.push(`${name}: ${value}`)
  }
  if (body !== undefined || method === "POST" || method === "PUT") lines.push(`content-length: ${payload.length}`)
  if (lines.some((line) => /[\r\n]/.test(line))) throw new LocalSocketError("not_http")
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), payload])
}

/** RFC 9112 §6: the body ends by its chunks, its length, or the connection. */
const parse = (bytes: Buffer, ended: boolean): LocalResponse | "incomplete" | "malformed" => {
  const end = bytes.indexOf("\r\n\r\n")
  if (bytes.length >= 5 && bytes.toString("latin1", 0, 5) !== "HTTP/") return "malformed"
  if (end === -1) return "incomplete"
  const [start = "", ...lines] = bytes.toString("latin1", 0, end).split("\r\n")
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(start)?.[1]
  if (status === undefined) return "malformed"
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(":")
    if (colon > 0) headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  const rest = bytes.subarray(end + 4)
  const answer = (body: Buffer): LocalResponse => ({ status: Number(status), headers, body: body.toString("utf8") })
  if (status === "204" || status === "304") return answer(Buffer.alloc(0))
  if (headers["transfer-encoding"]?.toLowerCase() === "chunked") {
    const body = dechunk(rest)
    return typeof body === "string" ? body : answer(body)
  }
  const length = headers["content-length"]
  if (length === undefined) return ended ? answer(rest) : "incomplete"
  if (!/^\d+$/.test(length)) return "malformed"
  return rest.length < Number(length) ? "incomplete" : answer(rest.subarray(0, Number(length)))
}

const dechunk = (bytes: Buffer): Buffer | "incomplete" | "malformed" => {
  const parts: Array<Buffer> = []
  for (let at = 0;;) {
    const line = bytes.indexOf("\r\n", at)
    if (line === -1) return "incomplete"
    const size = /^[0-9a-f]+/i.exec(bytes.toString("latin1", at, line))?.[0]
    if (size === undefined) return "malformed"
    const length = Number.parseInt(size, 16)
    if (length === 0) return Buffer.concat(parts)
    const next = line + 2 + length
    if (bytes.length < next + 2) return "incomplete"
    parts.push(bytes.subarray(line + 2, next))
    at = next + 2
  }
}
