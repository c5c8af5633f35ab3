import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

/** The desktop's page: built beside the dashboard and served on labs' origins below `/.datalabs/`. */
export default defineConfig({
  root: fileURLToPath(new URL('./desktop', import.meta.url)),
  base: '/.datalabs/',
  resolve: { alias: { '#': fileURLToPath(new URL('./src', import.meta.url)) } },
  build: {
    target: 'es2022',
    outDir: fileURLToPath(new URL('./dist/desktop', import.meta.url)),
    emptyOutDir: true,
    manifest: true,
    assetsInlineLimit: 0,
  },
})
