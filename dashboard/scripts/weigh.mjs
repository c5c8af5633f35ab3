// Says what the first page loads, compressed, and fails when it grew past its bound.
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

const BOUND = 350 * 1024
const manifest = JSON.parse(readFileSync('dist/.vite/manifest.json', 'utf8'))
const entry = Object.values(manifest).find((chunk) => chunk.isEntry)
const seen = new Set()
const visit = (chunk) => {
  if (seen.has(chunk.file)) return
  seen.add(chunk.file)
  for (const name of chunk.imports ?? []) visit(manifest[name])
}
visit(entry)
const weight = (file) => gzipSync(readFileSync(`dist/${file}`)).length
const script = [...seen].reduce((sum, file) => sum + weight(file), 0)
const style = (entry.css ?? []).reduce((sum, file) => sum + weight(file), 0)
console.log(
  `first load: ${(script / 1024).toFixed(0)} KiB of script, ${(style / 1024).toFixed(0)} KiB of style (gzip)`,
)
if (script > BOUND) {
  console.error(`the script of the first load is heavier than ${BOUND / 1024} KiB`)
  process.exit(1)
}
