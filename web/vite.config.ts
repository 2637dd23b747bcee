// How the web interface is built: two pages (the interface, and the API's documentation), everything by the panel's own
// origin, nothing inlined into HTML, because the panel's Content-Security-Policy forbids that.
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [react()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 2000,
    reportCompressedSize: false,
    rolldownOptions: { input: { index: 'index.html', reference: 'reference.html' } },
  },
  // `npm run dev` beside a panel: `BADGER_URL=http://127.0.0.1:8080 npm run dev`.
  server: { proxy: { '/api': { target: process.env['BADGER_URL'] ?? 'http://127.0.0.1:8080', ws: true } } },
  test: { environment: 'jsdom', include: ['src/**/*.test.{ts,tsx}'] },
});
