// Bundles the command: one CommonJS file for the fast path, one for the commands, one for the server.
import { build } from "esbuild"
import { mkdir, readFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const here = dirname(fileURLToPath(import.meta.url))

/** Builds into `outdir`. */
export const bundle = async (outdir) => {
  await mkdir(outdir, { recursive: true })
  const { version } = JSON.parse(await readFile(join(here, "package.json"), "utf8"))
  await build({
    absWorkingDir: here,
    entryPoints: {
      valetkey: "src/main.ts",
      cli: "src/Cli.ts",
      serve: "../server/src/Serve.ts"
    },
    outdir,
    outExtension: { ".js": ".cjs" },
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22.19",
    minifySyntax: true,
    minifyWhitespace: true,
    keepNames: false,
    legalComments: "none",
    // `require` is quicker than the loader of modules.
    supported: { "dynamic-import": false },
    logLevel: "warning",
    define: { VALETKEY_VERSION: JSON.stringify(version), "import.meta.url": "__valetkeyUrl" },
    banner: { js: "const __valetkeyUrl = require('node:url').pathToFileURL(__filename).href;" },
    plugins: [lazily({ "./Cli.ts": "./cli.cjs", "@valetkey/server/Serve": "./serve.cjs" })]
  })
}

/** What is imported on demand stays in a file of its own, which is not read before. */
const lazily = (files) => ({
  name: "lazily",
  setup: ({ onResolve }) => {
    onResolve({ filter: /./ }, ({ kind, path }) =>
      kind === "dynamic-import" && path in files ? { path: files[path], external: true } : undefined)
  }
})

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle(join(here, "dist", "bundle"))
