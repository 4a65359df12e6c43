"""What people read: one catalogue in Chinese and English, by slug; and how to say what is wrong with a field."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic_core import PydanticCustomError

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
    "authenticated": ("认证成功", "authenticated"),
    "auth-frame-missing": ("没有收到认证帧", "No auth frame came."),
    "auth-frame-broken": ("第一帧必须是 {type: auth, token}", "The first frame must be {type: auth, token}."),
    "ack-frame-broken": ("ack 帧缺少 seq", "An ack needs a seq."),
    "frame-broken": ("帧不是 JSON 对象", "The frame is not a JSON object."),
    "frame-unknown": ("未知的帧类型", "This type of frame is not known."),
    "frame-not-text": ("只接受文本帧", "Only text frames are taken."),
    "too-many-sockets": ("打开的连接过多", "Too many sockets are open."),
}

_FAILURES: Mapping[str | None, str] = {"timeout": "deadline-passed", "moderation_rejected": "moderation-rejected"}

_STEPS: Mapping[str, str] = {
    "started": "开始处理",
    "looking at the photo": "查看照片",
    "kept": "已保存",
    "done": "完成",
    "the workflow runs": "工作流运行中",
    "develop": "显影",
    "label and save": "标注并保存",
    "balance colours": "平衡色彩",
    "set exposure": "调整曝光",
    "local contrast": "局部对比",
    "contrast curve": "对比曲线",
    "split toning": "分离色调",
    "vignette": "暗角",
    "sky glow": "天空辉光",
    "low sun over the water": "水面夕照",
    "light leak": "漏光",
    "wet paving": "湿润路面",
    "lamps in the rain": "雨中灯光",
    "rain": "雨丝",
    "halftone shadows": "网点阴影",
    "neutral light": "中性光",
    "key light": "主光",
    "window light": "窗光",
    "clear sky": "晴空",
    "own tint": "专属色调",
    "halation": "光晕",
    "film stock": "胶片色彩",
    "film grain": "胶片颗粒",
    "white border": "白边",
    "wet in wet": "湿画法",
    "washes": "水彩渲染",
    "watercolour paper": "水彩纸",
    "two inks": "双色油墨",
    "three inks": "三色油墨",
    "fine screen": "细网点",
    "poster": "海报",
    "pencil by dodge": "铅笔素描",
    "sketchbook": "速写本",
    "instant chemistry": "拍立得显影",
    "instant frame": "拍立得边框",
    "flat shapes": "平面色块",
    "art paper": "艺术纸",
    "red filter": "红色滤镜",
    "dark matte": "深色衬纸",
    "stones": "石面纹理",
    "seamless backdrop": "无缝背景",
    "colour chips": "色卡",
    "postmark": "邮戳",
    "look at the photo": "查看照片",
    "read the words": "阅读文字",
    "compose": "作曲",
    "pads": "铺底音色",
    "bass": "贝斯",
    "arpeggio": "琶音",
    "melody": "旋律",
    "voice": "人声",
    "percussion": "打击乐",
    "mix and master": "混音与母带",
    "encode": "编码",
    "cover": "封面",
}
"""What a worker or an engine is doing, by the words it says itself, which are English."""

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
    "animated": ("不接受动态图片", "is an animated picture"),
    "ascii": ("只能包含 ASCII 字符", "is not ASCII"),
    "audience-all": ('未指定 user_ids 或 user_id 时必须为 "all"', 'must be "all" where neither user_ids nor user_id names anybody'),
    "audience-alone": ("不能与 user_ids 或 user_id 同时使用", "cannot stand beside user_ids or user_id"),
    "base64": ("不是有效的 base64", "is not valid base64"),
    "bytes": ("不能超过 {most} 字节", "must have at most {most} bytes"),
    "bytes-announced": ("应有 {announced} 字节，与声明的大小不符", "must have the {announced} bytes that were announced"),
    "connection-header": ("列出了不属于连接本身的请求头", "names a header that is not the connection's own"),
    "cover-link": ("必须是上传文件的链接或 https 网址", "must be a link to an upload or an https address"),
    "date-or-time": ("必须是日期或时间", "must be a date or a time"),
    "decoding-too-heavy": ("解码所需的资源过多", "takes too much to decode"),
    "depth": ("嵌套不能超过 {most} 层", "must be nested at most {most} levels deep"),
    "email": ("不是有效的邮箱地址", "is not an e-mail address"),
    "empty": ("内容为空", "is empty"),
    "etag": ("必须是作品的 ETag", "must be the ETag of the work"),
    "exactly-one": ("必须有且仅有一个", "must be there exactly once"),
    "expired": ("已失效", "is not valid any more"),
    "field-twice": ("包含重复的字段", "names a field twice"),
    "file-part": ("应为文件所在部分的名称，而不是 {given!r}", "must be the name of the part with the file, not {given!r}"),
    "idempotency-key": ("必须是一个 1 到 {most} 个可见字符的键", "must be one key of 1 to {most} printable characters"),
    "more-than-there-is": ("超过了现有数量", "is more than there is"),
    "multipart": ("不是有效的 multipart 请求体", "is not a valid multipart body"),
    "multipart-nested": ("不能嵌套 multipart 请求体", "nests one multipart body in another"),
    "newest-only": ("只能列出最新的 {most} 条", "only the newest {most} can be listed"),
    "next": ("必须是之前应答中的 `next`", "must be the `next` of an earlier answer"),
    "not-zero": ("不能为 0", "must not be 0"),
    "nul": ("不能包含 NUL 字符", "must not contain NUL"),
    "number-too-large": ("包含过大的数字", "holds a number that is too large"),
    "one-only": ("只接受一个文件", "only one file is taken"),
    "other-token": ("与 Authorization 中的令牌不一致", "is another token than that of Authorization"),
    "picture-data-url": ("必须是 JPEG、PNG 或 WebP 图片的 base64 data URL", "must be a base64 data URL of a JPEG, PNG or WebP picture"),
    "picture-gone": ("指向的图片已不存在", "leads to a picture that is not there any more"),
    "picture-kind": ("只接受 JPEG、PNG 和 WebP 图片", "only JPEG, PNG and WebP pictures are taken"),
    "picture-link": ("必须是图片的链接", "is not a link to a picture"),
    "pixels": ("像素过多", "has too many pixels"),
    "prompt-or-photo": ("workId 未指定您的照片时不能为空", "is required unless workId names a photo of yours"),
    "reason-needed": ("填写 credits_adjustment 时不能为空", "is required with credits_adjustment"),
    "refused": ("被拒绝", "was refused"),
    "sandbox-notice": ("不是沙盒的通知", "is no notice of the sandbox"),
    "scans": ("JPEG 的扫描次数过多", "is a JPEG with too many scans"),
    "small-picture": ("是缩略图的链接，请使用原图的链接", "is a link to a small picture; send the one to the picture itself"),
    "taken": ("已被注册", "is registered already"),
    "token-in-address": ("必须放在第一帧中，不能放在地址里", "belongs into the first frame, never into the address"),
    "transaction-needed": ("付款成功时不能为空", "is required where somebody paid"),
    "truth": ("不能是 true 或 false", "must not be true or false"),
    "twice": ("重复出现", "is there twice"),
    "two-lengths": ("请求体有两个长度", "the body has two lengths"),
    "undecodable": ("图片无法解码", "cannot be decoded"),
    "unreadable": ("无法读取", "could not be read"),
    "upload-or-data-url": (
        "必须是您上传的文件的链接或 data URL，不会读取其他网址",
        "must be a link to an upload of yours or a data URL; other addresses are not fetched",
    ),
    "utf-8": ("不是有效的 UTF-8", "is not valid UTF-8"),
    "work-without-photo": ("指向的作品没有照片", "names a work without a photo"),
    "your-upload": ("不是您上传的文件", "is not an upload of yours"),
}
"""By a validator's error type, or a slug of our own; the sentence goes on after the field's name."""

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


def failure_slug(reason: str | None) -> str:
    """The slug of why a task failed, for people: whatever else went wrong with an engine, it made nothing."""
    return _FAILURES.get(reason, "provider-failed")


def step_text(step: str, lang: Lang) -> str:
    """What is being done for a task; a step that is not known says itself."""
    return _STEPS.get(step, step) if lang == "zh" else step


def field_text(slug: str, lang: Lang, params: Mapping[str, Any] = MappingProxyType({})) -> str:
    """What is wrong with a field; raises KeyError for an unknown slug, or a sentence that names more than `params` has."""
    bound, singular = _SINGULARS.get(slug, ("", ""))
    if bound and lang == "en" and params.get(bound) == 1:
        return singular
    return _FIELD_TEXTS[slug][0 if lang == "zh" else 1].format_map(params)


def field_slug(kind: str, context: Mapping[str, Any]) -> str:
    """The slug of a validator's error type; what the catalogue has no sentence for is `invalid`."""
    known = _KINDS.get(kind, kind)
    slug = known if known in _FIELD_TEXTS else next((name for stem, name in _STEMS.items() if kind.startswith(stem)), "invalid")
    try:
        field_text(slug, "en", context)
    except KeyError:
        return "invalid"
    return slug


def wrong(slug: str, **params: Any) -> ValueError:
    """What a validator of our own raises: the slug of what is wrong with its field."""
    return PydanticCustomError(slug, field_text(slug, "en", params), params)


def known_slugs() -> frozenset[str]:
    """Every slug with a sentence."""
    return frozenset(_TEXTS)


def known_field_slugs() -> frozenset[str]:
    """Every slug with a sentence about a field."""
    return frozenset(_FIELD_TEXTS)
