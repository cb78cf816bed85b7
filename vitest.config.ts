import { defineConfig } from 'vitest/config';

/** Of cores, which change nothing outside their own objects: their files share a process, and load the product once. */
const CORES = ['base', 'devices', 'iommu', 'migration'].map((folder) => `tests/${folder}/**/*.test.ts`);

export default defineConfig({
  test: {
    // Process tests spawn VMMs with their own worker threads; two files at a time keep two cores busy, not drowned.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: 'cores', include: CORES, isolate: false } },
      { extends: true, test: { name: 'machines', include: ['tests/**/*.test.ts'], exclude: CORES } },
    ],
  },
});
