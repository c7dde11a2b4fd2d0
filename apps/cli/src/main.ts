import { fast } from "./fast.ts"

// The one command that programs run many times a day answers before anything else is loaded.
fast(process.argv.slice(2)).then((code) => {
  if (code !== undefined) process.exitCode = code
  else return import("./Cli.ts").then(({ main }) => main())
})
