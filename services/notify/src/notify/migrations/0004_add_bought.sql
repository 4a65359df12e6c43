-- What a receipt is for, as the fact said it; null for other mails and for what a process of the version before kept.
ALTER TABLE delivery ADD COLUMN bought jsonb;
