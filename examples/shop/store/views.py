"""Two pages: what was ordered, and whether the shop works."""

import hashlib

from django.core.paginator import Paginator
from django.db.models import F, Sum
from django.http import JsonResponse
from django.shortcuts import render

from store.models import Order, Product


def orders(request):
    listed = Order.objects.select_related("customer__user").annotate(
        cents=Sum(F("lines__quantity") * F("lines__product__price_cents"))
    )
    page = Paginator(listed, 50).get_page(request.GET.get("page"))
    return render(request, "store/orders.html", {"page": page})


def healthz(request):
    """Healthy means: the database answers, and an uploaded file is there and whole."""
    count = Order.objects.count()
    product = Product.objects.order_by("-id").first()
    whole = product is not None
    if product is not None:
        try:
            with product.photo.open("rb") as photo:
                whole = hashlib.sha256(photo.read()).hexdigest() == product.photo_sha256
        except OSError:
            whole = False
    healthy = count > 0 and whole
    return JsonResponse({"orders": count, "media": whole}, status=200 if healthy else 503)
