// The floor of handing out a token: bearer check, one read of SQLite, one AES-256-GCM open with a derived key, JSON.
// No contract, no policy, no telemetry, no errors. The derived key is kept, as a server that hands out the same token does.
import { createDecipheriv, createSecretKey, createCipheriv, hash, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto"
import { createServer } from "node:http"
import { DatabaseSync } from "node:sqlite"

const [socket, file, bearer] = process.argv.slice(2)
const root = randomBytes(32)
const salt = randomBytes(32)
const nonce = randomBytes(12)
const keys = new Map()

const derive = (salt) => {
  const id = salt.toString("latin1")
  let key = keys.get(id)
  if (key === undefined) {
    key = createSecretKey(Buffer.from(hkdfSync("sha256", root, salt, "floor", 32)))
    keys.set(id, key)
  }
  return key
}

const cipher = createCipheriv("aes-256-gcm", derive(salt), nonce, { authTagLength: 16 })
const sealed = Buffer.concat([salt, nonce, cipher.update(randomBytes(48).toString("base64url")), cipher.final(), cipher.getAuthTag()])

const database = new DatabaseSync(file)
database.exec("PRAGMA journal_mode = WAL")
database.exec(
  "CREATE TABLE IF NOT EXISTS connections (tenant TEXT, subject TEXT, server TEXT, generation INTEGER, status TEXT, access_ct BLOB, expires_at INTEGER, PRIMARY KEY (tenant, subject, server)) STRICT"
)
database.prepare("INSERT OR REPLACE INTO connections VALUES (?, ?, ?, 1, 'active', ?, ?)")
  .run("local", "local", "bench", sealed, Date.now() + 86_400_000)
const read = database.prepare("SELECT * FROM connections WHERE tenant = ? AND subject = ? AND server = ?")
const expected = Buffer.from(hash("sha256", bearer, "hex"))

createServer((request, response) => {
  if (request.url === "/livez") return response.writeHead(200).end()
  const chunks = []
  request.on("data", (chunk) => chunks.push(chunk))
  request.on("end", () => {
    const given = Buffer.from(hash("sha256", (request.headers.authorization ?? "").slice(7), "hex"))
    if (!timingSafeEqual(given, expected)) return response.writeHead(401).end()
    JSON.parse(chunks.length === 0 ? "{}" : Buffer.concat(chunks).toString())
    const row = read.get("local", "local", "bench")
    if (row.expires_at < Date.now() + 30_000) return response.writeHead(409).end()
    const envelope = Buffer.from(row.access_ct)
    const decipher = createDecipheriv("aes-256-gcm", derive(envelope.subarray(0, 32)), envelope.subarray(32, 44), {
      authTagLength: 16
    })
    decipher.setAuthTag(envelope.subarray(-16))
    const accessToken = decipher.update(envelope.subarray(44, -16), undefined, "utf8") + decipher.final("utf8")
    const body = JSON.stringify({
      accessToken,
      tokenType: "Bearer",
      expiresAt: new Date(row.expires_at).toISOString(),
      scopes: ["read"],
      generation: row.generation
    })
    response.writeHead(200, { "content-type": "application/json", "cache-control": "no-store", "content-length": Buffer.byteLength(body) })
    response.end(body)
  })
}).listen(socket)
