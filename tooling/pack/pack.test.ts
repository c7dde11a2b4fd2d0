import { assert, describe, it } from "@effect/vitest"
import { problems } from "./Contents.ts"
import type { PublishedManifest } from "./Tarball.ts"

const manifest: PublishedManifest = {
  name: "@valetkey/domain",
  version: "1.0.0",
  exports: { "./package.json": "./package.json", ".": "./dist/index.js", "./*": "./dist/*.js", "./internal/*": null },
  dependencies: { "@valetkey/api": "^1.0.0" }
}

const files = {
  "package.json": "{}",
  "README.md": "# domain",
  "LICENSE": "MIT",
  "src/index.ts": "",
  "dist/index.js": `export * as Flow from "./Flow.js"`,
  "dist/index.js.map": "{}",
  "dist/index.d.ts": ""
}

const found = (changes: Readonly<Record<string, string>>, changed: Partial<PublishedManifest> = {}) =>
  problems({ manifest: { ...manifest, ...changed }, files: new Map(Object.entries({ ...files, ...changes })) })

describe("pack", () => {
  it("accepts code, declarations, maps, sources and documents", () => {
    assert.deepStrictEqual(found({}), [])
  })

  it("refuses tests, fixtures and build records", () => {
    assert.deepStrictEqual(
      found({ "test/Flow.test.ts": "", "dist/Flow.test.js": "", "dist/.tsbuildinfo": "", "vitest.config.ts": "" }),
      [
        "carries test/Flow.test.ts",
        "carries dist/Flow.test.js",
        "carries dist/.tsbuildinfo",
        "carries vitest.config.ts"
      ]
    )
  })

  it("LIFE-09 refuses scripts that run at installation", () => {
    assert.deepStrictEqual(found({}, { scripts: { postinstall: "node x.js", test: "vitest" } }), [
      "runs a postinstall script on the consumer's machine"
    ])
  })

  it("refuses internal declarations and imports of sources", () => {
    assert.deepStrictEqual(
      found({
        "dist/index.d.ts": "/** @internal */ export const x: 1",
        "dist/index.js": `import "x"; export * from "./Flow.ts"`
      }),
      ["imports a source from dist/index.js", "declares an @internal member in dist/index.d.ts"]
    )
  })

  it("refuses exports that point at sources or at nothing", () => {
    assert.deepStrictEqual(found({}, { exports: { ".": "./src/index.ts", "./Flow": "./dist/Flow.js" } }), [
      "points . at ./src/index.ts",
      "points ./Flow at ./dist/Flow.js, which it lacks"
    ])
  })

  it("refuses a source without its output and ranges that only a workspace understands", () => {
    assert.deepStrictEqual(
      found({ "src/Flow.ts": "" }, { dependencies: { "@valetkey/api": "workspace:^", effect: "catalog:" } }),
      [
        "lacks dist/Flow.js",
        "asks for @valetkey/api as workspace:^",
        "asks for effect as catalog:"
      ]
    )
  })
})
