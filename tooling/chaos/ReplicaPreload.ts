// Loaded before a replica: what its name server answers, and what is broken in its source.
import dns from "node:dns/promises"
import { registerHooks, syncBuiltinESMExports } from "node:module"
import { breakages, type Name } from "./Breakage.ts"

const [name, address] = (process.env["CHAOS_RESOLVE"] ?? "").split("=")
if (address !== undefined) {
  const lookup = dns.lookup
  const resolve = (hostname: string, options: object) =>
    hostname === name ? Promise.resolve([{ address, family: 4 }]) : lookup(hostname, options)
  Object.assign(dns, { lookup: resolve })
  syncBuiltinESMExports()
}

const broken = process.env["CHAOS_BREAK"] as Name | undefined
if (broken !== undefined) {
  const changes = breakages[broken]
  registerHooks({
    load: (url, context, next) => {
      const loaded = next(url, context)
      const mine = changes.filter(({ file }) => url.endsWith(file))
      if (mine.length === 0 || loaded.source === undefined || loaded.source === null) return loaded
      let source = Buffer.from(loaded.source as Uint8Array).toString("utf8")
      for (const { from, to } of mine) {
        // One that does not fit the source proves nothing.
        if (!source.includes(from)) throw new Error(`${broken} does not fit ${url}`)
        source = source.replaceAll(from, to)
      }
      return { ...loaded, source }
    }
  })
}
