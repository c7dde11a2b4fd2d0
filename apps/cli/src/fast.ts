import { locate } from "@valetkey/client/Home"
import * as LocalSocket from "@valetkey/client/LocalSocket"
import { writeSync } from "node:fs"
import { render } from "./TokenText.ts"
import { version } from "./Version.ts"
import type { Token } from "./Wire.ts"

/**
 * The fast path: `valetkey token NAME [--header] [--json] [--min-validity N]` on a running local server, and `--version`. It
 * loads neither Effect nor node:http, and leaves everything unusual (other flags, any error) to the whole command by
 * returning undefined before it prints anything. `written` says that all of it has left this process.
 */
export const fast = async (args: ReadonlyArray<string>): Promise<{ readonly written: boolean } | undefined> => {
  if (args.length === 1 && args[0] === "--version") return print(`${version}\n`)
  const asked = parse(args)
  if (asked === undefined || process.env["VALETKEY_SERVER"]) return undefined
  try {
    const home = locate(process.env)
    const response = await LocalSocket.request({
      socket: home.socket,
      method: "POST",
      path: `/v1/connections/${asked.name}/token`,
      headers: {
        authorization: `Bearer ${LocalSocket.readToken(home.token)}`,
        "content-type": "application/json",
        accept: "application/json"
      },
      body: asked.minValidity === undefined ? "{}" : `{"minValiditySeconds":${asked.minValidity}}`
    })
    if (response.status !== 200) return undefined
    const token = JSON.parse(response.body) as Token
    if (typeof token.accessToken !== "string" || typeof token.tokenType !== "string") return undefined
    const { document, text } = render(asked.name, token, asked.header)
    return print(`${asked.json ? JSON.stringify(document) : text}\n`)
  } catch {
    return undefined
  }
}

/** Writes without the streams of Node.js, which take longer to set up than the server to answer. */
const print = (text: string): { readonly written: boolean } => {
  let rest = Buffer.from(text)
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(1, rest))
    return { written: true }
  } catch {
    // A pipe that is full or closed is the stream's affair.
    process.stdout.write(rest)
    return { written: false }
  }
}

interface Asked {
  readonly name: string
  readonly header: boolean
  readonly json: boolean
  readonly minValidity: number | undefined
}

const parse = (args: ReadonlyArray<string>): Asked | undefined => {
  if (args[0] !== "token") return undefined
  let name: string | undefined
  let header = false
  let json = false
  let minValidity: number | undefined
  for (let index = 1; index < args.length; index++) {
    const arg = args[index] ?? ""
    if (arg === "--header") header = true
    else if (arg === "--json") json = true
    else if (arg === "--min-validity") {
      const seconds = /^(\d{1,5})s?$/.exec(args[++index] ?? "")?.[1]
      if (seconds === undefined) return undefined
      minValidity = Number(seconds)
    } else if (name === undefined && /^[a-z0-9][a-z0-9._-]{0,62}$/.test(arg)) name = arg
    else return undefined
  }
  return name === undefined ? undefined : { name, header, json, minValidity }
}
