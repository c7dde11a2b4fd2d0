import { Effect } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { helperParameters, hostIn, Hosts, hostsOf, ownForm, readInput, tokenOf, Username } from "./CredentialHelper.ts"
import { Output } from "./Output.ts"
import { reach } from "./Target.ts"
import { operations } from "./Wire.ts"

/**
 * `valetkey git-credential`: a credential helper of git for the hosts of one server. About other hosts it says nothing, so
 * that git goes on to its next helper. What git erases was refused, and is replaced.
 *
 * @see https://git-scm.com/docs/git-credential#IOFMT
 */
export const GitCredential = Command.make("git-credential", {
  ...helperParameters,
  operation: Argument.String("operation").pipe(
    Argument.withDescription("get, store or erase; git adds it itself, and what is not known is ignored")
  ),
  host: Hosts,
  username: Username("oauth2"),
  bearer: Flag.Boolean("bearer").pipe(
    Flag.withDescription("Send the token as a Bearer header where git can; default is as a password"),
    Flag.withDefault(false),
    Flag.withoutNegation
  )
}, ({ bearer, host, minValidity, name, operation, username }) =>
  Effect.gen(function*() {
    yield* ownForm
    if (operation !== "get" && operation !== "erase") return
    const asked = parse(yield* readInput)
    const place = placeOf(asked.get("protocol"), asked.get("host"))
    if (place === undefined || !(yield* hostsOf(name, host)).includes(place)) return
    if (operation === "erase") return yield* reject(name, asked.get("credential") ?? asked.get("password"))
    const { accessToken, expiresAt } = yield* tokenOf(name, minValidity)
    const lines = bearer && asked.get("capability[]")?.split("\n").includes("authtype") === true
      ? ["capability[]=authtype", "authtype=Bearer", `credential=${accessToken}`]
      : [`username=${asked.get("username") ?? username}`, `password=${accessToken}`]
    if (expiresAt !== undefined) lines.push(`password_expiry_utc=${Math.floor(Date.parse(expiresAt) / 1000)}`)
    yield* (yield* Output).data(lines.join("\n"))
  })).pipe(
    Command.withDescription("Answer git's questions for credentials"),
    Command.withExamples([
      {
        command: "git config --global credential.https://git.example.com.helper '!valetkey git-credential forge'",
        description: "As the helper for one host"
      }
    ])
  )

/**
 * The host that git asks about. git hands it over decoded and unchecked: where anything else could be read out of it, such as
 * a path that begins in its middle, it is none.
 */
const placeOf = (protocol = "", host = ""): string | undefined => {
  const place = hostIn(`${protocol}://${host}`)
  const withUsualPort = `${place}:${protocol === "https" ? 443 : 80}`
  return [place, withUsualPort].includes(host.toLowerCase()) ? place : undefined
}

/** Has a refused token replaced, if it is the present one. */
const reject = Effect.fnUntraced(function*(name: string, refused: string | undefined) {
  if (refused === undefined || refused === "") return
  const remote = yield* reach({ start: true })
  yield* remote.call(operations.token, { server: name, rejectedToken: refused })
})

/** Attributes in lines; those whose name ends in [] gather their values. */
const parse = (text: string): ReadonlyMap<string, string> => {
  const found = new Map<string, string>()
  for (const line of text.split("\n")) {
    const at = line.indexOf("=")
    if (line === "") break
    const key = line.slice(0, at)
    const value = line.slice(at + 1)
    const before = key.endsWith("[]") ? found.get(key) : undefined
    found.set(key, before === undefined ? value : `${before}\n${value}`)
  }
  return found
}
