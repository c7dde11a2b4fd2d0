// The floor of handing out a token: bearer check, one read of SQLite, HKDF, one AES-256-GCM open, JSON, as what is sealed
// asks for: a key of its own for each envelope, a commitment to it, associated data. With `kept` the derived key is kept
// instead, as a server that hands out the same token over and over does. No contract, no policy, no audit, no metrics,
// no errors.
import { createCipheriv, createDecipheriv, createSecretKey, hash, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto"
import { createServer } from "node:http"
import { DatabaseSync } from "node:sqlite"

const [socket, file, bearer, mode] = process.argv.slice(2)
const root = createSecretKey(randomBytes(32))
const context = "instance connections local local/bench access_token 1"
const kept = new Map()

// An envelope is salt (32), nonce (12), commitment (32), ciphertext, tag (16); the associated data are its first 44 bytes
// and the context.
const associated = (envelope) => Buffer.concat([envelope.subarray(0, 44), Buffer.from(context)])

const derive = (salt, aad) => {
  const okm = Buffer.from(hkdfSync("sha256", root, salt, hash("sha256", aad, "buffer"), 64))
  return { key: createSecretKey(okm.subarray(0, 32)), commitment: okm.subarray(32) }
}

const seal = (plaintext) => {
  const head = randomBytes(44)
  const aad = associated(head)
  const { commitment, key } = derive(head.subarray(0, 32), aad)
  const cipher = createCipheriv("aes-256-gcm", key, head.subarray(32, 44), { authTagLength: 16 })
  cipher.setAAD(aad)
  return Buffer.concat([head, commitment, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

const keyOf = (envelope, aad) => {
  const name = mode === "kept" ? envelope.toString("latin1", 44, 76) : ""
  const known = kept.get(name)
  if (known !== undefined) return known
  const { commitment, key } = derive(envelope.subarray(0, 32), aad)
  if (!timingSafeEqual(commitment, envelope.subarray(44, 76))) throw new Error("another key")
  if (mode === "kept") kept.set(name, key)
  return key
}

const open = (envelope) => {
  const aad = associated(envelope)
  const decipher = createDecipheriv("aes-256-gcm", keyOf(envelope, aad), envelope.subarray(32, 44), {
    authTagLength: 16
  })
  decipher.setAAD(aad)
  decipher.setAuthTag(envelope.subarray(-16))
  return decipher.update(envelope.subarray(76, -16), undefined, "utf8") + decipher.final("utf8")
}

const database = new DatabaseSync(file)
database.exec("PRAGMA journal_mode = WAL")
database.exec(
  "CREATE TABLE IF NOT EXISTS connections (tenant TEXT, subject TEXT, server TEXT, generation INTEGER, status TEXT, access_ct BLOB, expires_at INTEGER, PRIMARY KEY (tenant, subject, server)) STRICT"
)
database.prepare("INSERT OR REPLACE INTO connections VALUES (?, ?, ?, 1, 'active', ?, ?)")
  .run("local", "local", "bench", seal(randomBytes(48).toString("base64url")), Date.now() + 86_400_000)
const read = database.prepare("SELECT * FROM connections WHERE tenant = ? AND subject = ? AND server = ?")
const expected = hash("sha256", bearer, "buffer")

createServer((request, response) => {
  if (request.url === "/livez") return response.writeHead(200).end()
  const chunks = []
  request.on("data", (chunk) => chunks.push(chunk))
  request.on("end", () => {
    const given = hash("sha256", (request.headers.authorization ?? "").slice(7), "buffer")
    if (!timingSafeEqual(given, expected)) return response.writeHead(401).end()
    JSON.parse(chunks.length === 0 ? "{}" : Buffer.concat(chunks).toString())
    const row = read.get("local", "local", "bench")
    if (row.expires_at < Date.now() + 30_000) return response.writeHead(409).end()
    const body = JSON.stringify({
      accessToken: open(Buffer.from(row.access_ct.buffer, row.access_ct.byteOffset, row.access_ct.byteLength)),
      tokenType: "Bearer",
      expiresAt: new Date(row.expires_at).toISOString(),
      scopes: ["read"],
      generation: row.generation
    })
    response.writeHead(200, {
      "content-type": "application/json",
      "cache-control": "no-store",
      "content-length": Buffer.byteLength(body)
    })
    response.end(body)
  })
}).listen(socket)
