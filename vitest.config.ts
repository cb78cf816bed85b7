import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    // Process tests spawn VMMs with threads of their own, and wait for them now and then: three files at a time keep two
    // cores busy.
    pool: 'forks',
    maxWorkers: 3,
    // No test changes anything outside its own objects, so that files may share a process, and load the product once.
    isolate: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
