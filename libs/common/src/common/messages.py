"""What people read: one catalogue in Chinese and English, by slug; and how to say what is wrong with a field."""

from collections.abc import Mapping
from typing import Any, Literal

Lang = Literal["zh", "en"]

_TEXTS: Mapping[str, tuple[str, str]] = {
    "internal": ("服务器内部错误，请稍后再试", "Something went wrong on our side. Please try again later."),
    "invalid-parameter": ("请求参数有误", "The request is not valid."),
    "unauthorized": ("请先登录或重新登录", "Please sign in again."),
    "forbidden": ("没有权限执行此操作", "You may not do this."),
    "rate-limited": ("请求过于频繁，请稍后再试", "Too many requests. Please wait a moment."),
    "conflict": ("操作与当前状态冲突", "This conflicts with the present state."),
    "idempotency-key-reused": ("该幂等键已用于不同的请求", "This Idempotency-Key was used with another request."),
    "unavailable": ("服务暂时不可用，请稍后再试", "Not available at the moment. Please try again."),
    "not-found": ("请求的资源不存在", "There is nothing here."),
    "user-not-found": ("用户不存在", "There is no such user."),
    "wrong-password": ("邮箱或密码错误", "Wrong e-mail or password."),
    "email-unverified": ("邮箱尚未验证，请查收验证邮件", "The e-mail address is not verified yet."),
    "account-disabled": ("账号已被禁用", "This account is disabled."),
    "work-not-found": ("作品不存在", "There is no such work."),
    "work-create-failed": ("作品创建失败", "The work could not be created."),
    "work-update-failed": ("作品更新失败", "The work could not be updated."),
    "work-delete-failed": ("作品删除失败", "The work could not be deleted."),
    "insufficient-credits": ("积分不足", "Not enough credits."),
    "purchase-failed": ("购买失败", "The purchase failed."),
    "deduct-failed": ("积分扣除失败", "The credits could not be taken."),
    "refund-failed": ("积分返还失败", "The credits could not be given back."),
    "task-not-found": ("任务不存在", "There is no such task."),
    "task-not-cancellable": ("任务当前状态无法取消", "The task can no longer be cancelled."),
    "provider-failed": ("生成失败，请稍后再试", "The generation failed."),
    "deadline-passed": ("任务超时", "The task took too long."),
    "moderation-rejected": ("内容未通过审核", "The content was rejected by moderation."),
    "too-many-tasks": ("等待中的任务过多，请稍后再试", "Too many tasks are waiting already."),
    "file-not-found": ("文件不存在", "There is no such file."),
    "file-too-large": ("文件过大", "The file is too large."),
    "file-type-refused": ("不支持的文件类型", "This type of file is not accepted."),
    "file-unreadable": ("文件无法读取", "The file cannot be read."),
    "quota-exceeded": ("存储空间已满，请先删除一些文件", "Your storage is full. Please delete some files first."),
    "scene-not-found": ("场景不存在", "There is no such scene."),
    "config-key-unknown": ("配置项不存在", "There is no such setting."),
    "payload-too-large": ("请求体过大", "The request body is too large."),
    "method-not-allowed": ("不支持该请求方法", "This method is not allowed here."),
    "media-type-refused": ("不支持的内容类型", "This content type is not accepted."),
    "route-not-found": ("请求的接口不存在", "There is no such route."),
}

_FIELD_TEXTS: Mapping[str, tuple[str, str]] = {
    "missing": ("不能为空", "is required"),
    "null": ("不能为空", "must not be null"),
    "string": ("必须是字符串", "must be a string"),
    "integer": ("必须是整数", "must be a whole number"),
    "number": ("必须是数字", "must be a number"),
    "boolean": ("必须是布尔值", "must be true or false"),
    "list": ("必须是数组", "must be a list"),
    "object": ("必须是对象", "must be an object"),
    "uuid": ("必须是有效的 ID", "must be an id"),
    "time": ("必须是有效的时间", "must be a date and time"),
    "string_too_short": ("长度不能少于 {min_length} 个字符", "must have at least {min_length} characters"),
    "string_too_long": ("长度不能超过 {max_length} 个字符", "must have at most {max_length} characters"),
    "string_pattern_mismatch": ("格式不正确", "has the wrong form"),
    "too_short": ("至少需要 {min_length} 项", "must have at least {min_length} items"),
    "too_long": ("最多允许 {max_length} 项", "must have at most {max_length} items"),
    "greater_than": ("必须大于 {gt}", "must be greater than {gt}"),
    "greater_than_equal": ("不能小于 {ge}", "must be at least {ge}"),
    "less_than": ("必须小于 {lt}", "must be less than {lt}"),
    "less_than_equal": ("不能大于 {le}", "must be at most {le}"),
    "choice": ("必须是以下之一: {expected}", "must be one of {expected}"),
    "url": ("必须是有效的网址", "must be a URL"),
    "json": ("不是有效的 JSON", "is not valid JSON"),
    "extra_forbidden": ("不支持该字段", "is not known here"),
    "too_many_faults": ("错误过多", "has too many faults"),
    "invalid": ("无效", "is not valid"),
}

_SINGULARS: Mapping[str, tuple[str, str]] = {
    "string_too_short": ("min_length", "must have at least 1 character"),
    "string_too_long": ("max_length", "must have at most 1 character"),
    "too_short": ("min_length", "must have at least 1 item"),
    "too_long": ("max_length", "must have at most 1 item"),
}
"""What English says where the bound of this name is one."""

_KINDS: Mapping[str, str] = {
    "json_invalid": "json",
    "literal_error": "choice",
    "enum": "choice",
    "model_type": "object",
    "model_attributes_type": "object",
    "dict_type": "object",
    "mapping_type": "object",
    "list_type": "list",
    "tuple_type": "list",
    "set_type": "list",
}
_STEMS: Mapping[str, str] = {
    "int_": "integer", "float_": "number", "finite_": "number", "decimal_": "number", "bool_": "boolean", "string_": "string",
    "uuid_": "uuid", "datetime_": "time", "date_": "time", "timezone_": "time", "url_": "url", "none_": "null",
}  # fmt: skip


def text(slug: str, lang: Lang) -> str:
    """The sentence for a slug; an unknown slug says itself."""
    known = _TEXTS.get(slug)
    return slug if known is None else known[0 if lang == "zh" else 1]


def field_text(kind: str, lang: Lang, context: Mapping[str, Any] | None = None, fallback: str | None = None) -> str:
    """What is wrong with a field, from a validator's error type; a validator's own sentence is the fallback."""
    bound, singular = _SINGULARS.get(kind, ("", ""))
    if bound and lang == "en" and (context or {}).get(bound) == 1:
        return singular
    known = _FIELD_TEXTS.get(_KINDS.get(kind, kind))
    if known is None:
        known = next((_FIELD_TEXTS[name] for stem, name in _STEMS.items() if kind.startswith(stem)), None)
    if known is None:
        return fallback or _FIELD_TEXTS["invalid"][0 if lang == "zh" else 1]
    try:
        return known[0 if lang == "zh" else 1].format_map(context or {})
    except (KeyError, IndexError):
        return fallback or _FIELD_TEXTS["invalid"][0 if lang == "zh" else 1]


def known_slugs() -> frozenset[str]:
    """Every slug with a sentence."""
    return frozenset(_TEXTS)
