import { Effect } from "effect"
import { failure } from "./CliFailure.ts"
import { plain } from "./Output.ts"
import { everyPage, type Remote } from "./Remote.ts"
import { isLoopback } from "./Target.ts"
import { operations, type Server } from "./Wire.ts"
import { isName, nameRule, slugOf } from "./Words.ts"

/** A URL with the name it is to have, or the name of what is there already. */
export const targetOf = Effect.fnUntraced(function*(target: string, chosen: string | undefined) {
  if (!target.includes("://")) {
    if (!isName(target)) return yield* failure("usage", neither(target))
    if (chosen !== undefined) return yield* failure("usage", "--name goes with a URL")
    return { server: target, url: undefined }
  }
  if (chosen !== undefined && !isName(chosen)) return yield* failure("usage", `--name: ${nameRule}`)
  const url = URL.parse(target)
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
    return yield* failure("usage", "The URL must begin with https:// or http://")
  }
  if (url.username !== "" || url.password !== "") {
    return yield* failure("usage", "The URL must carry no user name and no password: the consent gives the token")
  }
  url.hash = ""
  return { server: chosen ?? slugOf(url), url }
})

/** What is wrong with a target that is neither a URL nor a name. Its path may be a secret, its host is none. */
const neither = (target: string): string => {
  const host = /^((?:[a-z0-9-]{1,40}\.){1,5}[a-z]{2,12}|localhost|127\.0\.0\.1)(:\d{1,5})?\//.exec(target)
  if (host === null) return `This is neither a URL, which begins with https://, nor a name: ${nameRule}`
  const scheme = isLoopback(host[1]!) ? "http" : "https"
  return `A URL begins with https:// or http://; did you mean ${scheme}://${host[1]}${host[2] ?? ""}/…?`
}

/** The name of what to connect to; a URL that is new is added under its name. */
export const serverOf = Effect.fnUntraced(function*(
  remote: Remote,
  { server, url }: { readonly server: string; readonly url: URL | undefined }
) {
  if (url === undefined) return { server, added: false }
  const found = yield* remote.call(operations.server, server).pipe(
    Effect.catch((error) => error.code === "server_not_found" ? Effect.undefined : Effect.fail(error))
  )
  if (found !== undefined) {
    if (URL.parse(found.resource)?.href === url.href) return { server, added: false }
    return yield* failure(
      "name_taken",
      `The name ${server} belongs to ${plain(found.resource)}; choose another with --name`
    )
  }
  const { created } = yield* remote.call(operations.putServer, { server, description: { resource: url.href } })
  return { server, added: created }
})

/** The name under which a URL is known already: the likely one, or any other. */
export const knownAs = Effect.fnUntraced(function*(remote: Remote, likely: string, url: URL) {
  const isIt = ({ resource }: Server) => URL.parse(resource)?.href === url.href
  const found = yield* remote.call(operations.server, likely).pipe(
    Effect.catch((error) => error.code === "server_not_found" ? Effect.undefined : Effect.fail(error))
  )
  if (found !== undefined && isIt(found)) return likely
  const servers = yield* everyPage((after) => remote.call(operations.servers, after), (page) => page.servers)
  return servers.find(isIt)?.server
})
