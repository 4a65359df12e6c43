// The peer's worker: marks a task as taken and as done, as a generation that costs nothing would, and says so.
import { Worker } from 'bullmq';
import { ENDED, JOBS, openDatabase, openRedis } from './stack.js';

const db = openDatabase();
const news = openRedis();

async function generate({ data: { taskId, owner } }) {
  await db.execute("update task set status = 'processing', updated_at = now(3) where task_id = ?", [taskId]);
  const result = { images: [{ url: `https://files.example/${taskId}.webp`, batch_index: 0 }], ai_description: '' };
  await db.execute(
    "update task set status = 'completed', result = ?, updated_at = now(3) where task_id = ?",
    [JSON.stringify(result), taskId],
  );
  await news.publish(ENDED, JSON.stringify({ owner, taskId, result }));
}

const worker = new Worker(JOBS, generate, { connection: openRedis(), concurrency: 50 });
worker.on('error', (error) => console.error(error));
worker.on('failed', (job, error) => console.error('failed', job?.data, error));
