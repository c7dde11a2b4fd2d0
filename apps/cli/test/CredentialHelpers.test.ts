import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { createServer as createSecureServer } from "node:https"
import type { AddressInfo } from "node:net"
import { delimiter, dirname, join } from "node:path"
import { variable } from "./support/bundle.ts"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** What a server on 127.0.0.1 is asked with, and how it answers. */
const place = (
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  tls?: { readonly key: Buffer; readonly cert: Buffer }
) =>
  Effect.gen(function*() {
    const seen: Array<{ readonly path: string; readonly authorization: string | undefined }> = []
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      seen.push({ path: String(request.url), authorization: request.headers.authorization })
      request.resume()
      answer(request, response)
    }
    const server = tls === undefined ? createServer(listener) : createSecureServer(tls, listener)
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
  })

/** A stub whose one connection has another token each time that its present one is rejected, and a PATH with the command. */
const installed = (host: string) =>
  Effect.gen(function*() {
    const valetkey = yield* Valetkey.make
    let generation = 1
    const rejected: Array<string> = []
    yield* StubServer.make(valetkey, ({ url }, body) => {
      if (url === "/v1/servers/forge") return { body: { server: "forge", resource: `http://${host}/api`, quirks: {} } }
      const { rejectedToken } = JSON.parse(body) as { readonly rejectedToken?: string }
      if (rejectedToken !== undefined) rejected.push(rejectedToken)
      if (rejectedToken === `token-${generation}`) generation++
      return {
        body: {
          accessToken: `token-${generation}`,
          tokenType: "bearer",
          expiresAt: "2030-01-02T03:04:05.678Z",
          generation
        }
      }
    })
    const bin = join(dirname(valetkey.home.data), "bin")
    mkdirSync(bin)
    const script = (name: string, words: string) => {
      writeFileSync(join(bin, name), `#!/bin/sh\nexec ${words} "$@"\n`)
      chmodSync(join(bin, name), 0o755)
    }
    script("valetkey", `'${process.execPath}' '${process.env[variable]}'`)
    const env = {
      ...valetkey.env,
      PATH: `${bin}:${process.env["PATH"]}`,
      GIT_TERMINAL_PROMPT: "0",
      GIT_CONFIG_NOSYSTEM: "1"
    }
    const shell = (command: string): Effect.Effect<Ended> =>
      Effect.callback((resume) => {
        execFile(
          "/bin/sh",
          ["-c", command],
          { env: env as NodeJS.ProcessEnv },
          (error, stdout, stderr) =>
            resume(Effect.succeed({ code: error === null ? 0 : Number(error.code), stdout, stderr }))
        )
      })
    return { rejected, script, shell, valetkey }
  })

const has = (command: string): boolean =>
  (process.env["PATH"] ?? "").split(delimiter).some((directory) => existsSync(join(directory, command)))

const git = (host: string, operation: string, more = "") =>
  `printf 'protocol=http\\nhost=${host}\\n${more}\\n' | valetkey git-credential forge ${operation}`

describe("credential helpers", () => {
  it.live("give curl the token on stdin, as a header and as a configuration", () =>
    Effect.scoped(Effect.gen(function*() {
      const { host, seen } = yield* place((_, response) => void response.end("ok"))
      const { shell } = yield* installed(host)
      for (
        const command of [
          `valetkey token forge --header | curl -sS -H @- http://${host}/a`,
          `valetkey curl-config forge | curl -sS --config - http://${host}/b`,
          `valetkey curl-config forge --min-validity 60s > c && curl -sS --config c http://${host}/c; rm c`
        ]
      ) {
        const ended = yield* shell(command)
        assert.strictEqual(ended.stdout, "ok", ended.stderr)
      }
      assert.deepStrictEqual(seen.map(({ authorization }) => authorization), Array(3).fill("Bearer token-1"))
      const headers = yield* shell("valetkey headers forge")
      assert.deepStrictEqual(JSON.parse(headers.stdout), { Authorization: "Bearer token-1" })
      const refused = yield* shell("valetkey headers forge --json")
      assert.strictEqual(refused.code, 2)
    })))

  it.live("serve git, which has a refused token replaced, and say nothing about hosts that the token is not for", () =>
    Effect.scoped(Effect.gen(function*() {
      let good = "token-1"
      const basic = () => `Basic ${Buffer.from(`oauth2:${good}`).toString("base64")}`
      const { host, seen } = yield* place((request, response) => {
        if (request.headers.authorization !== basic()) {
          return void response.writeHead(401, { "www-authenticate": "Basic realm=\"git\"" }).end()
        }
        if (request.url?.startsWith("/repo.git/info/refs") !== true) return void response.writeHead(404).end()
        response.end(`${"a".repeat(40)}\trefs/heads/main\n`)
      })
      const { rejected, shell } = yield* installed(host)
      const list =
        `git -c credential.helper= -c 'credential.helper=!valetkey git-credential forge' ls-remote http://${host}/repo.git`
      const listed = yield* shell(list)
      assert.include(listed.stdout, "refs/heads/main", listed.stderr)
      assert.deepStrictEqual(rejected, [])

      good = "token-2"
      assert.notStrictEqual((yield* shell(list)).code, 0)
      assert.deepStrictEqual(rejected, ["token-1"])
      assert.include((yield* shell(list)).stdout, "refs/heads/main")
      assert.isAbove(seen.length, 4)

      for (const other of ["github.com", "127.0.0.1:1"]) {
        assert.deepStrictEqual(yield* shell(git(other, "get")), { code: 0, stdout: "", stderr: "" })
        yield* shell(git(other, "erase", "password=token-2\\n"))
      }
      assert.deepStrictEqual(rejected, ["token-1"])
      // Known to the forge under another name, and never in the open.
      assert.include(
        (yield* shell(
          `printf 'protocol=https\nhost=github.com\n' | valetkey git-credential forge --host GitHub.com get`
        )).stdout,
        "password=token-2"
      )
      assert.strictEqual(
        (yield* shell(
          `printf 'protocol=http\nhost=github.com\n' | valetkey git-credential forge --host github.com get`
        )).stdout,
        ""
      )
      // git hands over what it decoded: a host is one as it stands, and not what could be read into it.
      const https = (asked: string) =>
        shell(
          `printf '%s\\n' protocol=https 'host=${asked}' | valetkey git-credential forge --host git.example.com get`
        )
      for (const asked of ["git.example.com", "GIT.Example.COM", "git.example.com:443"]) {
        assert.include((yield* https(asked)).stdout, "password=token-2", asked)
      }
      for (
        const asked of [
          "git.example.com/.evil.example",
          "git.example.com#.evil.example",
          "git.example.com?.evil.example",
          "git.example.com\\.evil.example",
          "evil.example@git.example.com",
          "git.example.com:80",
          "git.example.com:",
          "git.example%2ecom",
          " git.example.com"
        ]
      ) {
        assert.strictEqual((yield* https(asked)).stdout, "", asked)
      }
      assert.deepStrictEqual((yield* shell(git(host, "store", "password=other\\n"))).stdout, "")
      const stdout = (yield* shell(git(host, "get", "username=me\\ncapability[]=authtype\\n"))).stdout
      assert.deepStrictEqual(stdout.split("\n"), [
        "username=me",
        "password=token-2",
        "password_expiry_utc=1893553445",
        ""
      ])
      const bearer = yield* shell(git(host, "--bearer get", "capability[]=state\\ncapability[]=authtype\\n"))
      assert.deepStrictEqual(bearer.stdout.split("\n").slice(0, 3), [
        "capability[]=authtype",
        "authtype=Bearer",
        "credential=token-2"
      ])
      assert.include((yield* shell(git(host, "--bearer get"))).stdout, "password=token-2")
    })))

  it.live("serve docker for the hosts of the server alone", () =>
    Effect.scoped(Effect.gen(function*() {
      const manifest = { schemaVersion: 2, mediaType: "application/vnd.docker.distribution.manifest.v2+json" }
      const { host, seen } = yield* place((request, response) => {
        if (request.headers.authorization === undefined) {
          return void response.writeHead(401, { "www-authenticate": "Basic realm=\"registry\"" }).end()
        }
        response.writeHead(404, { "content-type": "application/json" }).end(JSON.stringify(manifest))
      })
      const { script, shell, valetkey } = yield* installed(host)
      const get = yield* shell(`echo ${host} | valetkey docker-credential forge get`)
      assert.deepStrictEqual(JSON.parse(get.stdout), {
        ServerURL: host,
        Username: "oauth2accesstoken",
        Secret: "token-1"
      })
      const other = yield* shell("echo https://index.docker.io/v1/ | valetkey docker-credential forge get")
      assert.deepStrictEqual([other.code, other.stdout], [1, "credentials not found in native keychain\n"])
      const list = yield* shell("valetkey docker-credential forge list")
      assert.deepStrictEqual(JSON.parse(list.stdout), { [host]: "oauth2accesstoken" })
      assert.strictEqual((yield* shell("echo '{}' | valetkey docker-credential forge store")).code, 2)
      assert.strictEqual((yield* shell(`echo ${host} | valetkey docker-credential forge erase`)).code, 0)

      if (has("docker")) {
        script("docker-credential-valetkey-forge", "valetkey docker-credential forge")
        const directory = join(dirname(valetkey.home.data), ".docker")
        mkdirSync(directory)
        writeFileSync(join(directory, "config.json"), JSON.stringify({ credHelpers: { [host]: "valetkey-forge" } }))
        yield* shell(`docker manifest inspect --insecure ${host}/image`)
        assert.include(
          seen.map(({ authorization }) => authorization),
          `Basic ${Buffer.from("oauth2accesstoken:token-1").toString("base64")}`
        )
      }
    })))

  it.live("serve clients of Kubernetes in the version that they ask for, and for no other cluster", () =>
    Effect.scoped(Effect.gen(function*() {
      const { host } = yield* place((_, response) => void response.end())
      const { shell, valetkey } = yield* installed(host)
      const ask = (info: unknown, more = "") =>
        shell(`KUBERNETES_EXEC_INFO='${JSON.stringify(info)}' valetkey kubectl-credential forge ${more}`)
      const v1 = { kind: "ExecCredential", apiVersion: "client.authentication.k8s.io/v1", spec: { interactive: false } }
      assert.deepStrictEqual(JSON.parse((yield* ask(v1)).stdout), {
        apiVersion: "client.authentication.k8s.io/v1",
        kind: "ExecCredential",
        status: { token: "token-1", expirationTimestamp: "2030-01-02T03:04:05Z" }
      })
      const older = yield* ask({ ...v1, apiVersion: "client.authentication.k8s.io/v1beta1" })
      assert.include(older.stdout, "\"client.authentication.k8s.io/v1beta1\"")
      const cluster = (server: string) => ({ ...v1, spec: { interactive: false, cluster: { server } } })
      assert.include((yield* ask(cluster(`http://${host}`))).stdout, "token-1")
      const other = yield* ask(cluster("https://cluster.example.com:6443"))
      assert.deepStrictEqual([other.code, other.stdout], [1, ""])
      const named = yield* ask(cluster("https://cluster.example.com:6443"), "--host cluster.example.com:6443")
      assert.include(named.stdout, "token-1")

      // It asks for no credential where it would travel in the open.
      if (has("kubectl") && has("openssl")) {
        const file = (name: string) => join(dirname(valetkey.home.data), name)
        yield* shell(
          `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost ` +
            `-keyout '${file("key")}' -out '${file("cert")}'`
        )
        const { host: secure, seen } = yield* place(
          (_, response) => void response.setHeader("content-type", "application/json").end("{\"major\":\"1\"}"),
          { key: readFileSync(file("key")), cert: readFileSync(file("cert")) }
        )
        const exec = {
          apiVersion: v1.apiVersion,
          command: "valetkey",
          args: ["kubectl-credential", "forge", "--host", secure],
          interactiveMode: "Never",
          provideClusterInfo: true
        }
        writeFileSync(
          file("kubeconfig"),
          JSON.stringify({
            apiVersion: "v1",
            kind: "Config",
            "current-context": "c",
            clusters: [{ name: "c", cluster: { server: `https://${secure}`, "insecure-skip-tls-verify": true } }],
            users: [{ name: "u", user: { exec } }],
            contexts: [{ name: "c", context: { cluster: "c", user: "u" } }]
          })
        )
        const ended = yield* shell(`kubectl --kubeconfig '${file("kubeconfig")}' get --raw /version`)
        assert.include(ended.stdout, "major", ended.stderr)
        assert.strictEqual(seen.at(-1)?.authorization, "Bearer token-1")
      }
    })))

  it.live("exit as the other commands do, with nothing on stdout, when there is no token", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      let code = "reauthorization_required"
      yield* StubServer.make(valetkey, ({ url }) => ({
        status: url === "/v1/servers/forge" ? 200 : 409,
        body: url === "/v1/servers/forge"
          ? { server: "forge", resource: "https://forge.example.com/", quirks: {} }
          : { type: `https://valetkey.dev/problems/${code}`, title: "", status: 409, code, detail: "Ask again" }
      }))
      const asked = "protocol=https\nhost=forge.example.com\n"
      for (
        const [args, stdin] of [
          [["headers", "forge"], ""],
          [["curl-config", "forge"], ""],
          [["kubectl-credential", "forge"], ""],
          [["git-credential", "forge", "get"], asked],
          [["docker-credential", "forge", "get"], "forge.example.com"]
        ] as const
      ) {
        const ended = yield* valetkey.run(args, {}, stdin)
        assert.deepStrictEqual([ended.code, ended.stdout], [4, ""], args[0])
        assert.include(ended.stderr, "valetkey connect forge")
      }
      code = "token_refused"
      assert.strictEqual((yield* valetkey.run(["headers", "forge"])).code, 1)
    })))
})
