"""Whether the Hugging Face hub can be asked at all."""

PROBE_SECONDS = 5


def reachable() -> bool:
    """Whether the hub (or the mirror that HF_ENDPOINT names) answers; False at once where the user said offline.

    Asked once before loading, as the libraries retry for half a minute before they say that there is no network.
    """
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # which kind depends on the HTTP library beneath; any of them means that no answer came
        return False
    return True
