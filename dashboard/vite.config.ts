import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'
import { mockPlatform } from './mock/plugin.ts'

/** `--mode mock` answers the API from fixtures; otherwise `DATALABS_URL` says where a running platform is. */
export default defineConfig(({ mode }) => ({
  plugins: [react(), ...(mode === 'mock' ? [mockPlatform()] : [])],
  resolve: { alias: { '#': fileURLToPath(new URL('./src', import.meta.url)) } },
  server: {
    proxy: mode === 'mock' ? undefined : { '/api': process.env.DATALABS_URL ?? 'http://localhost:8080' },
  },
  build: {
    target: 'es2022',
    manifest: true,
    // A font or picture inlined into the style sheet would be loaded by everybody at once.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 900,
  },
  test: { include: ['src/**/*.test.ts', 'src/**/*.test.tsx', 'desktop/**/*.test.ts'] },
}))
